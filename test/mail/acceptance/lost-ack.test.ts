/**
 * Accepted when: with a dedupe window of one second, a swallowed acknowledgement, and a relay that is killed or overtaken
 * between publish and mark, no mail stands twice on the stream. Without the expected sequence one does.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as pass } from 'node:timers/promises'
import type { NatsConnection } from '#shared/nats.ts'
import type { Controls } from '../../../services/mail/app/relay.ts'
import type { InstanceProcess } from '../../support/instance.ts'
import { eventsOf } from '../../support/ledger.ts'
import { startNatsServer } from '../../support/nats-server.ts'
import { startProxy, type TcpProxy } from '../../support/proxy.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { accountOf, leaseOwner, SEED, settled } from './support.ts'

const WINDOW_MS = 1_000
const UNPROTECTED: Controls = { expectSequence: false, readBack: false }

/** The acknowledgement of a publish; answers of the buckets and of the API look otherwise. */
const isAck = (chunk: Buffer): boolean => /\{"stream":"EMAIL_EVENTS",\s*"seq":/.test(chunk.toString('latin1'))

const isPublish = (chunk: Buffer): boolean => /PUB user\.\S+\.email\.received /.test(chunk.toString('latin1'))

async function behindProxy() {
  const stack = new AsyncDisposableStack()
  // The sandbox ends first: its instances need the proxy to hand over.
  const nats = stack.use(await startNatsServer())
  const proxy = stack.use(await startProxy(nats.port))
  const box = stack.use(
    await sandbox({
      nats,
      simulator: { seed: SEED },
      env: { MAIL_DEDUPE_WINDOW_MS: String(WINDOW_MS), MAIL_LEASE_SILENCE_MS: '1000' },
    }),
  )
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const url = { NATS_URL: `nats://127.0.0.1:${proxy.port}` }
  return { box, proxy, nc, ops, url, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

const deliver = (box: Sandbox): string =>
  box.sim.mutate({ type: 'deliver', user: box.simUser('ada'), provider: 'google' })
const timesOf = async (ops: NatsConnection, id: string): Promise<number> =>
  (await eventsOf(ops, 'ada')).filter(({ event }) => event.provider_message_id === id).length

/** Kills the instance right after the acknowledgement of its next publish was swallowed, and restarts it after the window. */
async function killedBeforeMark(
  at: Awaited<ReturnType<typeof behindProxy>>,
  instance: InstanceProcess,
  trigger: () => unknown,
): Promise<InstanceProcess> {
  const swallowed = at.proxy.dropNext('toClient', isAck)
  trigger()
  await swallowed
  await instance.kill('SIGKILL')
  await pass(WINDOW_MS + 500)
  return await at.box.spawn('a', at.url)
}

// Each has a server of its own, and most of their time is waiting.
describe('acknowledgements that are lost', { concurrency: 3 }, () => {
  test('a relay killed between publish and mark, and restarted after the dedupe window, publishes nothing twice', async () => {
    await using at = await behindProxy()
    const { box, nc, url } = at
    let a = await box.spawn('a', url)
    await box.connect(nc, 'ada', 'google', { n: 200 })
    a = await killedBeforeMark(at, a, () => undefined)
    await settled(box, nc, ['ada'], 'killed between publish and mark of the backfill')
    await killedBeforeMark(at, a, () => deliver(box))
    await settled(box, nc, ['ada'], 'killed between publish and mark of new mail')
  })

  /** The ack of one new mail is swallowed; answers how often the mail stands on the stream after the relay tried again. */
  async function ackSwallowed(controls: Controls): Promise<number> {
    await using at = await behindProxy()
    const { box, proxy, nc, ops, url } = at
    await box.start('a', { env: url, controls })
    await box.connect(nc, 'ada', 'google', { n: 5 })
    await box.allLive(nc, ['ada'])
    const { progress: before } = await accountOf(box, nc, 'ada', 'google')
    const swallowed = proxy.dropNext('toClient', isAck)
    const id = deliver(box)
    await swallowed
    // The relay waits two seconds for the answer: then the window is over.
    await until('the mail is marked as published', async () => {
      const { outbox, progress } = await accountOf(box, nc, 'ada', 'google')
      return outbox.pending === 0 && progress.done === before.done + 1
    })
    return await timesOf(ops, id)
  }

  test('a swallowed acknowledgement leads to one event', async () => {
    assert.equal(await ackSwallowed({}), 1)
  })
  test('control: without expected sequence and read-back a swallowed acknowledgement leads to two', async () => {
    assert.equal(await ackSwallowed(UNPROTECTED), 2)
  })

  test('control: with the expected sequence and without read-back the relay is stuck behind its own event', async () => {
    await using at = await behindProxy()
    const { box, proxy, nc, ops, url } = at
    await box.start('a', { env: url, controls: { readBack: false } })
    await box.connect(nc, 'ada', 'google', { n: 5 })
    await box.allLive(nc, ['ada'])
    const swallowed = proxy.dropNext('toClient', isAck)
    const id = deliver(box)
    await swallowed
    await until('the relay has given up believing in NATS', async () => {
      const { accounts } = await box.status(nc, 'ada')
      return accounts.some(({ outbox, last_error }) => outbox.pending === 1 && last_error?.code === 'NATS_UNAVAILABLE')
    })
    assert.equal(await timesOf(ops, id), 1)
  })

  /**
   * The owner's publish is held on the wire until another instance has taken over, published the same mail and the window
   * has passed; then it arrives. Answers how often the mail stands on the stream.
   */
  async function heldPublish(controls: Controls): Promise<number> {
    await using at = await behindProxy()
    const { box, proxy, nc, ops, url } = at
    const a = await box.start('a', { env: url, controls })
    await box.connect(nc, 'ada', 'google', { n: 5 })
    await box.allLive(nc, ['ada'])
    const held = proxy.holdFrom('toServer', isPublish)
    const id = deliver(box)
    await held
    await box.spawn('b')
    await until('b owns ada', async () => (await leaseOwner(ops, 'ada')) === 'b')
    await until('b has published the mail', async () => (await timesOf(ops, id)) === 1)
    await pass(WINDOW_MS + 500)
    await arrive(proxy, ops, nc)
    await settledOnce(box, nc, a.name)
    return await timesOf(ops, id)
  }

  /** Lets the held bytes go and waits until the server has worked them off. */
  async function arrive(proxy: TcpProxy, ops: NatsConnection, nc: NatsConnection): Promise<void> {
    proxy.release()
    await Promise.all([ops.flush(), nc.flush()])
  }
  /** The instance that was held answers again: what it had sent before has arrived. */
  async function settledOnce(box: Sandbox, nc: NatsConnection, name: string): Promise<void> {
    const ops = await box.connection('ops')
    await until(`${name} has a live session again`, async () => (await leaseOwner(ops, 'ada')) !== null)
    await box.allLive(nc, ['ada'])
  }

  test('a publish that arrives after another instance has taken over is refused', async () => {
    assert.equal(await heldPublish({}), 1)
  })
  test('control: without expected sequence a publish that arrives late stands there twice', async () => {
    assert.equal(await heldPublish({ expectSequence: false }), 2)
  })
})
