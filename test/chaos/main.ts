/**
 * `make chaos`: three instances and more as processes, their disks, their links to NATS and NATS itself are struck while users are
 * connected and mail arrives; then the books are read. SEED and FULL in the environment. Exit 0 when nothing is lost,
 * twice or stuck and nobody ended who should not have; 1 otherwise. What the instances say is kept in data/chaos.
 */
import { mkdir, rm } from 'node:fs/promises'
import { setTimeout as pass } from 'node:timers/promises'
import { dice as diceOf } from '../mail/acceptance/support.ts'
import { type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { sandbox } from '../support/sandbox.ts'
import { BLOWS, type BlowName, type Dice, killBroker, rollBack } from './blows.ts'
import { deal, SCALES, type Scale, shuffled } from './deck.ts'
import { Machine } from './machine.ts'
import { Work } from './work.ts'

const SILENCE_MS = 2_000
const LOGS = 'data/chaos'
/** The part of the users who are there before the first blow. */
const FIRST = 0.2

const started = performance.now()
const say = (text: string): void => void process.stdout.write(`${text}\n`)
const step = (text: string): void => say(`${((performance.now() - started) / 1_000).toFixed(1).padStart(7)} s  ${text}`)
const number = (n: number): string => n.toLocaleString('en-US')

/** What has fallen, by name, and what should not have happened. */
class Tally {
  readonly counts = new Map<string, number>()
  readonly faults: string[] = []

  add(name: string): void {
    this.counts.set(name, this.of(name) + 1)
  }
  of(name: string): number {
    return this.counts.get(name) ?? 0
  }
  get total(): number {
    return [...this.counts.values()].reduce((sum, n) => sum + n, 0)
  }
  get line(): string {
    return [...this.counts].map(([name, n]) => `${name} ${n}`).join(' · ')
  }
}

async function strikeMachine(
  machine: Machine,
  { blows, lifeMs }: { blows: readonly BlowName[]; lifeMs: number },
  dice: Dice,
  tally: Tally,
): Promise<void> {
  for (const name of blows) {
    await pass(dice(0, lifeMs))
    tally.add(name)
    try {
      await BLOWS[name](machine, dice, SILENCE_MS)
    } catch (error) {
      tally.faults.push(`${name}: ${String(error)}`)
      await machine.end('SIGKILL')
      await machine.start()
    }
  }
}

/** Spread over what falls on the machines, which takes as long as it takes. */
async function strikeBroker(nats: NatsServer, scale: Scale, all: number, dice: Dice, tally: Tally): Promise<void> {
  const cards = shuffled(
    [...Array<'broker'>(scale.brokers).fill('broker'), ...Array<'rollBack'>(scale.rollBacks).fill('rollBack')],
    dice,
  )
  for (const [i, name] of cards.entries()) {
    while (tally.total - i < (all * i) / (cards.length + 1)) await pass(100)
    await (name === 'rollBack' ? rollBack : killBroker)(nats, dice)
    tally.add(name)
  }
}

async function run(scale: Scale, seed: number): Promise<boolean> {
  await using stack = new AsyncDisposableStack()
  const nats = stack.use(await startNatsServer())
  const env = { MAIL_LEASE_SILENCE_MS: String(SILENCE_MS), MAIL_DEDUPE_WINDOW_MS: '1000' }
  const box = stack.use(await sandbox({ nats, simulator: { seed }, env }))
  const machines: Machine[] = []
  const parts = { box, natsPort: nats.port, logDir: LOGS, diskMib: scale.diskMib }
  while (machines.length < scale.machines)
    machines.push(stack.use(await Machine.make(`mail-${machines.length}`, parts)))
  await Promise.all(machines.map((machine) => machine.start()))
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const diceFor = (what: number): Dice => diceOf(seed * 100 + what)
  const work = new Work(box, nc, diceFor(machines.length))
  while (work.users.length < scale.users * FIRST) await work.connect(scale.mails)
  const hasDisks = machines.every((machine) => machine.hasDisk)
  if (!hasDisks) say('no file system can be mounted here: no disk is filled or made read-only')
  step(`${work.users.length} users are connected; the blows begin`)

  const tally = new Tally()
  const over = new AbortController()
  const living = work.live(over.signal)
  const lanes = deal(scale.blows, machines.length, hasDisks, diceFor(machines.length + 1))
  await Promise.all([
    ...machines.map((machine, i) =>
      strikeMachine(machine, { blows: lanes[i] ?? [], lifeMs: scale.lifeMs }, diceFor(i), tally),
    ),
    strikeBroker(nats, scale, lanes.flat().length, diceFor(machines.length + 2), tally),
    (async () => {
      while (work.users.length < scale.users) await work.connect(scale.mails)
    })(),
  ])
  over.abort(new Error('the blows are over'))
  await living
  step(`the blows are over: ${tally.line}`)

  const { ledger, stuck } = await work.served(ops)
  step('the books are read')
  for (const { user, why } of stuck) say(`stuck: ${user}: ${why}`)
  for (const id of ledger.lost.slice(0, 5)) say(`lost: ${await work.explain(id)}`)
  for (const id of ledger.twice.slice(0, 5)) say(`twice: ${await work.explain(id)}`)
  for (const id of ledger.wrong.slice(0, 5)) say(`never an event: ${id}`)
  const faults = [...tally.faults, ...machines.flatMap(({ crashes }) => crashes)]
  for (const fault of faults) say(`fault: ${fault}`)
  say(
    [
      ledger.line,
      `${number(stuck.length)} stuck`,
      `${number(tally.of('kill') + tally.of('disk'))} kills (${number(tally.of('disk'))} disks)`,
      `${number(tally.of('stop'))} stops`,
      `${number(tally.of('broker'))} brokers`,
      `seed ${seed}`,
    ].join(' · '),
  )
  return ledger.clean && stuck.length === 0 && faults.length === 0
}

await rm(LOGS, { recursive: true, force: true })
await mkdir(LOGS, { recursive: true })
try {
  const isFull = (process.env.FULL || '0') !== '0'
  process.exitCode = (await run(isFull ? SCALES.full : SCALES.short, Number(process.env.SEED || 7))) ? 0 : 1
} catch (error) {
  process.stderr.write(`chaos failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
}
