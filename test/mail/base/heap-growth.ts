/** Lives off 20 MB and leaves garbage that is old, a hundred MB of it. Prints by how much the old generation grew at most, MB. */
import { getHeapSpaceStatistics } from 'node:v8'
import { settleHeap } from '../../../services/mail/base/heap.ts'

const MB = 2 ** 20
const PIECE = 1_024
const pieces = (mb: number): unknown[] =>
  Array.from({ length: (mb * MB) / PIECE }, (_, i) => new Array(PIECE / 8).fill(i))
const oldMb = (): number =>
  (getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')?.space_used_size ?? Number.NaN) / MB

const live = pieces(20)
if (process.argv[2] === 'settled') settleHeap()
const before = oldMb()
let mostMb = 0
// What is dropped has become old meanwhile.
const ring: unknown[] = new Array(5_000).fill(null)
for (let i = 0; i < (100 * MB) / PIECE; i++) {
  ring[i % ring.length] = new Array(PIECE / 8).fill(i)
  if (i % 1_000 === 0) mostMb = Math.max(mostMb, oldMb() - before)
}
process.stdout.write(JSON.stringify({ mostMb, live: live.length }))
