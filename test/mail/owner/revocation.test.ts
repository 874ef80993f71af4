/** Revoking a grant at the provider: repeated while the provider fails, and never once the grant is wanted again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { connectWith, disconnect, recordOf, requests, settled } from '../acceptance/support.ts'

const BETWEEN_TRIES_MS = 12_000

/** The system's clock, but the wait between two tries ends when the test says so. */
function gatedClock(): { clock: Clock; waiting(): number; open(): void } {
  let gate = Promise.withResolvers<void>()
  let waiting = 0
  const clock: Clock = {
    ...systemClock,
    async sleep(ms, signal) {
      if (ms !== BETWEEN_TRIES_MS) return await systemClock.sleep(ms, signal)
      signal.throwIfAborted()
      waiting += 1
      const aborted = Promise.withResolvers<never>()
      const onAbort = (): void => aborted.reject(signal.reason)
      signal.addEventListener('abort', onAbort, { once: true })
      try {
        await Promise.race([gate.promise, aborted.promise])
      } finally {
        signal.removeEventListener('abort', onAbort)
        waiting -= 1
      }
    },
  }
  return {
    clock,
    waiting: () => waiting,
    open: () => {
      gate.resolve()
      gate = Promise.withResolvers()
    },
  }
}

async function disconnectedWhileGoogleFails() {
  const box = await sandbox()
  try {
    const gated = gatedClock()
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    await box.start('a', { clock: gated.clock })
    await box.connect(nc, 'ada', 'google', { n: 5 })
    await box.allLive(nc, ['ada'])
    box.sim.faults.add({ match: { route: 'google.revoke' }, fault: { type: '503' }, times: 1 })
    await disconnect(nc, 'ada', 'google')
    await until('the first try has failed', () => gated.waiting() === 1)
    return { box, nc, ops, gated, [Symbol.asyncDispose]: () => box[Symbol.asyncDispose]() }
  } catch (error) {
    await box[Symbol.asyncDispose]()
    throw error
  }
}
const outcomes = (box: Awaited<ReturnType<typeof sandbox>>): number[] =>
  requests(box, 'google.revoke').map(({ status }) => status)

test('a grant that could not be revoked is tried again', async () => {
  await using at = await disconnectedWhileGoogleFails()
  at.gated.open()
  await until('it is revoked', async () => (await recordOf(at.ops, 'ada', 'google')).revoke === null)
  assert.deepEqual(outcomes(at.box), [503, 200])
})

test('a grant that is connected again while its revocation waits is not revoked', async () => {
  await using at = await disconnectedWhileGoogleFails()
  const { box, nc, gated } = at
  await connectWith(nc, 'ada', 'google', box.sim.credentials('ada-primary', 'google'))
  await until('nothing waits to be tried again', () => gated.waiting() === 0)
  await settled(box, nc, ['ada'], 'connected again')
  assert.deepEqual(outcomes(box), [503])
})

test('disconnected again while an earlier revocation waits, the newest grant is revoked', async () => {
  await using at = await disconnectedWhileGoogleFails()
  const { box, nc, ops } = at
  await connectWith(nc, 'ada', 'google', box.sim.credentials('ada-primary', 'google'))
  await disconnect(nc, 'ada', 'google')
  await until('it is revoked', async () => (await recordOf(ops, 'ada', 'google')).revoke === null)
  assert.deepEqual(outcomes(box), [503, 200])
})
