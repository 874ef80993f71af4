/** When the session says that the disk can keep no users, and when no longer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DiskWatch } from '../../../services/mail/owner/disk-watch.ts'
import { DiskError, type DiskFault } from '../../../services/mail/store/disk-errors.ts'
import { until } from '../../support/until.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { log } from '../kv/support.ts'

const MIB = 1024 * 1024
const SIGNAL = new AbortController().signal
const FULL = new DiskError('DISK_FULL', 'no room')

function watched() {
  const clock = new ManualClock()
  const disk = {
    freeMiB: 100,
    probes: 0,
    async probe(roomBytes: number) {
      disk.probes += 1
      if (disk.freeMiB * MIB < roomBytes) throw FULL
    },
  }
  const said: (DiskFault | null)[] = []
  const session = {
    get full(): DiskFault | null {
      return said.at(-1) ?? null
    },
    async setFull(fault: DiskFault | null) {
      said.push(fault)
    },
  }
  const watch = new DiskWatch(disk, session, clock, log)
  /** Tried again, and at rest. */
  const probed = (before: number): Promise<unknown> =>
    until('the folder was tried', () => disk.probes > before && clock.sleeping === 1)
  return { clock, disk, said, watch, probed }
}

test('users come back to a disk with more room than they need to stay', async () => {
  const { clock, disk, said, watch, probed } = watched()
  disk.freeMiB = 5
  watch.suspect(FULL, SIGNAL)
  await probed(0)
  assert.deepEqual(said, [], 'there is room to stay')
  await clock.advance(60_000)
  disk.freeMiB = 3
  watch.suspect(FULL, SIGNAL)
  await probed(1)
  assert.deepEqual(said, ['DISK_FULL'])
  disk.freeMiB = 5
  await clock.advance(60_000)
  await probed(2)
  assert.deepEqual(said, ['DISK_FULL'], 'what was enough to stay is not enough to come back')
  disk.freeMiB = 16
  const before = disk.probes
  await clock.advance(60_000)
  await probed(before)
  assert.deepEqual(said, ['DISK_FULL', null])
})

test('a folder that is well is tried once a second at most, and not at all for what only one file can suffer from', async () => {
  const { clock, disk, watch, probed } = watched()
  for (const code of ['FOREIGN', 'NEWER_SCHEMA', 'NOT_A_FILE'] as const) watch.suspect(new DiskError(code, ''), SIGNAL)
  assert.equal(disk.probes, 0)
  watch.suspect(FULL, SIGNAL)
  await probed(0)
  watch.suspect(FULL, SIGNAL)
  assert.equal(disk.probes, 1)
  await clock.advance(60_000)
  watch.suspect(FULL, SIGNAL)
  await probed(1)
})
