/**
 * Owners that are paused, or cut off with their bytes under way, until another instance has their users and goes on:
 * what must hold after any number of them.
 */
import assert from 'node:assert/strict'
import { setTimeout as pass } from 'node:timers/promises'
import type { Controls } from '../../../services/mail/app/relay.ts'
import { startNatsServer } from '../../support/nats-server.ts'
import { startProxy, type TcpProxy } from '../../support/proxy.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { BURST, type Figures, Fleet, fleetEnv } from './fleet.ts'
import { dice, SEED } from './support.ts'

type Kind = { name: string; isIn(chunk: Buffer): boolean }
export type Story = { rounds: number; mails: number; silenceMs: number }

const BOTH = ['a', 'b'] as const
/** Long enough for a checkpoint of what was delivered. */
const TRAP_MS = 5_000
/** What the trapped chunk carries. Of a batch it is the end: to a beginning that is late nobody sends the rest. */
const [EVENT, CHECKPOINT] = (['user.', '$KV.mail_state.'] as const).map((subject) => ({
  name: `a write to ${subject}`,
  isIn: (chunk: Buffer): boolean =>
    chunk.includes(`PUB ${subject}`) && (!chunk.includes('Nats-Batch-Id') || chunk.includes('Nats-Batch-Commit')),
})) as [Kind, Kind]

/** At no time two owners by deadline, and no write of a past one is stored. */
export function assertOneOwner({ overlaps, wire, line }: Figures): void {
  assert.deepEqual([overlaps, wire.landed], [[], []], `${line} (TEST_SEED=${SEED})`)
}

/** SIGSTOP until the other has taken over and gone on, then SIGCONT; by turns, at any moment of their work. */
export async function pausedOwners({ rounds, mails, silenceMs }: Story): Promise<Figures> {
  await using box = await sandbox({ simulator: { pageSizeGraph: 20, seed: SEED }, env: fleetEnv(silenceMs) })
  const fleet = await Fleet.of(box)
  const throwOf = dice(SEED)
  const instances = { a: await fleet.spawn('a'), b: await fleet.spawn('b') }
  await fleet.connectAll(mails, BOTH)
  for (let round = 0; round < rounds; round++) {
    const [paused, other] = round % 2 === 0 ? (['a', 'b'] as const) : (['b', 'a'] as const)
    await fleet.deliverUntil(throwOf(0, BURST - 1))
    process.kill(instances[paused].pid, 'SIGSTOP')
    try {
      await fleet.ownedBy([other])
      await fleet.goesOn()
    } finally {
      process.kill(instances[paused].pid, 'SIGCONT')
    }
    await fleet.ownedBy(BOTH)
  }
  return await fleet.figures(`SIGSTOP ${rounds} times`)
}

/**
 * From an event, or by turns a checkpoint, that `a` sends, all bytes between it and NATS are held for `holdMs`, in which
 * `b` takes over and goes on; then they are delivered.
 * @param controls of `a`, which then runs in this process.
 */
export async function heldBytes(
  { rounds, mails, silenceMs }: Story,
  holdMs: number,
  controls?: Controls,
): Promise<Figures> {
  await using stack = new AsyncDisposableStack()
  const nats = stack.use(await startNatsServer())
  const proxy = stack.use(await startProxy(nats.port))
  const env = fleetEnv(silenceMs)
  const fleet = await Fleet.of(stack.use(await sandbox({ nats, simulator: { pageSizeGraph: 20, seed: SEED }, env })))
  const url = { NATS_URL: `nats://127.0.0.1:${proxy.port}` }
  if (controls === undefined) await fleet.spawn('a', url)
  else await fleet.start('a', url, controls)
  await fleet.spawn('b')
  await fleet.connectAll(mails, BOTH)
  for (let round = 0; round < rounds; round++) {
    await trap(proxy, round % 2 === 0 ? EVENT : CHECKPOINT, fleet)
    proxy.hold('toClient')
    const held = pass(holdMs)
    fleet.deliver()
    await fleet.ownedBy(['b'])
    await fleet.goesOn()
    await held
    proxy.release()
    await fleet.ownedBy(BOTH)
  }
  return await fleet.figures(`bytes held for ${holdMs} ms ${rounds} times`)
}

/** A busy machine may lose its users for a moment, and what was delivered then goes another way: so it is delivered again. */
async function trap(proxy: TcpProxy, { name, isIn }: Kind, fleet: Fleet): Promise<void> {
  let isTrapped = false
  const trapped = proxy.holdFrom('toServer', isIn).then(() => {
    isTrapped = true
  })
  const delivered = async (): Promise<boolean> => {
    fleet.deliver()
    await Promise.race([trapped, pass(TRAP_MS)])
    return isTrapped
  }
  await until(`${name} is held`, delivered, { timeoutMs: 60_000 })
}
