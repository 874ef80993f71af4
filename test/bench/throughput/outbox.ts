/**
 * Target 10: an instance that starts with a full outbox, against a process that publishes as many events from memory with
 * the same guarantees. The outbox is filled by the service's own store while no instance runs.
 */
import { join } from 'node:path'
import { createLog } from '#shared/log.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { UserStore } from '../../../services/mail/store/user-store.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { interleave } from '../kit/rounds.ts'
import { median, quotients } from '../kit/statistics.ts'
import { ended } from '../kit/stop.ts'
import { quiet, type Usage, usageOf } from '../kit/usage.ts'
import { memoryMail } from '../pipeline/memory.ts'
import { type Pipeline, Stage } from './stage.ts'

const FULL = { rounds: 7, rows: 100_000 }
const QUICK = { rounds: 2, rows: 3_000 }
const RATE_MIN = 0.5
const NAME = 'bench'
/** So soon is a user started that an instance has released: at its next poll. */
const POLLED = { MAIL_SYNC_INTERVAL_MS: '1000' }
const STORED_TOGETHER = 500

type Drain = Usage<'own' | 'broker'>

/** @param size of the smoke test */
export async function measure(options: BenchOptions, size = options.quick ? QUICK : FULL): Promise<Figure[]> {
  const { rounds, rows } = size
  options.say(`outbox of ${rows} rows: ${rounds} rounds`)
  await using stage = await Stage.start(options)
  const first = await stage.instance(NAME, POLLED)
  await ended(first, options.signal)
  const pipeline = await stage.pipeline()
  const fromMemory = (name: string) => ({
    name,
    run: (round: number) => publish(stage, pipeline, `${name.replace(' ', '-')}-${round}`, rows, options.signal),
  })
  const drain = { name: 'outbox', run: (round: number) => drainOutbox(stage, `outbox-${round}`, rows, options.signal) }
  const cells = [drain, fromMemory('memory'), fromMemory('memory again')]
  return figuresOf(await interleave<Drain>(cells, rounds, options.signal), rows)
}

/** Connects a user, fills its outbox behind the back of the instance that has ended, and starts it again. */
async function drainOutbox(stage: Stage, user: string, rows: number, signal: AbortSignal): Promise<Drain> {
  const before = await stage.events()
  const filling = await stage.instance(NAME, POLLED)
  await stage.connectMailbox(user, 'google', 1)
  await stage.reached(before + 1)
  await quiet([filling.pid], signal)
  // Killed: what a process leaves in order has no full outbox, and a user at rest is not looked at.
  await filling.kill('SIGKILL')
  await fill(join(stage.dir, NAME), user, rows)
  const instance = await stage.instance(NAME, POLLED)
  await until('the outbox is drained from', async () => (await stage.events()) > before + 1, { everyMs: 2, signal })
  const there = (await stage.events()) - before - 1
  const used = usageOf({ own: instance.pid, broker: stage.nats.pid })
  await stage.reached(before + 1 + rows)
  const usage = used()
  await ended(instance, signal)
  // What was there at the first look was not measured.
  return { ...usage, wallMs: (usage.wallMs * rows) / (rows - there) }
}

async function fill(dataDir: string, userId: string, rows: number): Promise<void> {
  await using store = new UserStore({ dataDir, log: createLog('bench', 'silent') })
  const epoch = store.read(userId, readMeta)?.epoch
  if (epoch === undefined) throw new Error(`${userId} has no database`)
  const account = { userId, provider: 'google', inboxId: 'primary' } as const
  // Mail 0 is the one that was connected with.
  for (let at = 1; at <= rows; at += STORED_TOGETHER) {
    const length = Math.min(STORED_TOGETHER, rows + 1 - at)
    const mails = Array.from({ length }, (_, i) => memoryMail(at + i))
    store.commit(userId, epoch, (tx) => storeNew(tx, account, mails, Date.now()))
  }
}

async function publish(
  stage: Stage,
  pipeline: Pipeline,
  user: string,
  mails: number,
  signal: AbortSignal,
): Promise<Drain> {
  await pipeline.ask({ what: 'make', user, mails })
  await quiet([pipeline.pid, stage.nats.pid], signal)
  const before = await stage.events()
  const used = usageOf({ own: pipeline.pid, broker: stage.nats.pid })
  const publishing = pipeline.ask({ what: 'publish', user })
  const [usage] = await Promise.all([stage.reached(before + mails).then(used), publishing])
  return usage
}

function figuresOf(runs: ReadonlyMap<string, readonly Drain[]>, rows: number): Figure[] {
  const rates = (name: string): number[] => (runs.get(name) ?? []).map(({ wallMs }) => rows / (wallMs / 1_000))
  const costs = (name: string, of: keyof Drain['cpuMs']): string =>
    median((runs.get(name) ?? []).map(({ cpuMs }) => (cpuMs[of] * 1_000) / rows)).toFixed(0)
  const note = (name: string): string =>
    `${median(rates(name)).toFixed(0)} events/s; CPU ${costs(name, 'own')} µs, broker ${costs(name, 'broker')} µs each`
  const drained = quotients(rates('outbox'), rates('memory'))
  const noise = quotients(rates('memory again'), rates('memory'))
  const of = { target: 10, unit: 'times' }
  return [
    {
      ...of,
      name: `outbox of ${rows.toLocaleString('en')} rows: rate against publishing from memory`,
      value: median(drained),
      min: RATE_MIN,
      rounds: drained,
      note: note('outbox'),
    },
    { ...of, name: 'outbox: A/A of the rate', value: median(noise), rounds: noise, note: note('memory') },
  ]
}
