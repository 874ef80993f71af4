/** What is made of a profile. That an instance can be profiled at all: smoke.test.ts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Profile, sharesOf } from './profile.ts'

const SERVICE = 'file:///x/services/mail'
const node = (id: number, functionName: string, url: string, children: number[] = []) => ({
  id,
  callFrame: { functionName, url },
  children,
})

test('time in a library counts for the file of ours that asked for it, garbage and what nobody asked for by themselves', () => {
  const profile: Profile = {
    nodes: [
      node(1, '(root)', '', [2, 3, 4, 5]),
      node(2, '(idle)', ''),
      node(3, 'commit', `${SERVICE}/store/user-store.ts`, [6, 7]),
      node(4, 'onData', 'file:///x/node_modules/@nats-io/nats-core/lib/a.js', [8]),
      node(5, 'processTicks', 'node:internal/process'),
      node(6, 'run', 'file:///x/node_modules/better-sqlite3/lib/a.js'),
      node(7, '(garbage collector)', ''),
      node(8, 'onMessage', 'file:///x/shared/nats.ts'),
    ],
    samples: [2, 3, 6, 7, 4, 8, 5],
    timeDeltas: [1_000, 10, 30, 20, 20, 15, 5],
  }
  assert.deepEqual(sharesOf(profile), [
    { area: 'store/user-store', part: 0.4 },
    { area: '(garbage collector)', part: 0.2 },
    { area: '@nats-io/nats-core', part: 0.2 },
    { area: 'nats', part: 0.15 },
    { area: 'node', part: 0.05 },
  ])
})
