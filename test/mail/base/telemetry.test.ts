import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { flatMetrics } from '#shared/metrics.ts'
import { createTelemetry } from '../../../services/mail/base/telemetry.ts'

const create = () => createTelemetry(createLog('test', 'silent'), () => ({ accounts: {}, outboxPending: 0, users: 0 }))

test('a counter shows 0 for each of its labels before its first event, so that the first one is a rise', async () => {
  const telemetry = create()
  const before = await flatMetrics(telemetry.registry)
  telemetry.tokenRefreshed('microsoft', 'config')
  telemetry.syncFailed('google', 'PROVIDER_DOWN')
  telemetry.syncFailed('google', 'PROVIDER_NOT_CONFIGURED')
  telemetry.throttled('google')
  telemetry.mailStored('microsoft', 3)
  telemetry.cursorExpired('google')
  telemetry.itemsSkipped('google', 1)
  telemetry.messagesGone('microsoft', 1)
  telemetry.zombieRefused('state')
  telemetry.takenOver('snapshot')
  telemetry.streamReset('rolled_back')
  telemetry.reconciled('foreign', 1)
  const after = await flatMetrics(telemetry.registry)
  const risen = Object.keys(after).filter((name) => name.includes('_total{') && after[name] !== before[name])
  assert.equal(risen.length, 12)
  for (const name of risen) assert.equal(before[name], 0, name)
})

test('two who read the metrics at the same time get numbers that JSON can tell', async () => {
  const telemetry = create()
  // The lag of the event loop begins anew with each reading; until the next tick it has no mean.
  await telemetry.flat()
  const told = Object.entries(JSON.parse(JSON.stringify(await telemetry.flat())) as Record<string, unknown>)
  assert.deepEqual(
    told.filter(([, value]) => typeof value !== 'number'),
    [],
  )
  assert.ok(told.some(([name]) => name.startsWith('mailsync_nodejs_eventloop_lag')))
})

test('the labels are few', async () => {
  const counters = Object.keys(await flatMetrics(create().registry)).filter((name) => name.includes('_total{'))
  assert.ok(counters.length < 80, String(counters.length))
})
