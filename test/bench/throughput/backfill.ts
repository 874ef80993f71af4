/**
 * Target 1: a whole mailbox by the service, by the shortest pipeline that keeps the same promises, and by the naive one. The
 * short one runs twice in each round: what lies between the two is noise.
 */
import type { ProviderName } from '#shared/subjects.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { interleave } from '../kit/rounds.ts'
import { median, quotients } from '../kit/statistics.ts'
import {
  type Backfill,
  backfill,
  type Contender,
  costOf,
  rateOf,
  thePipeline,
  theService,
  warmUp,
} from './backfill-run.ts'
import { Stage } from './stage.ts'

type Size = { rounds: number; mails: number; naive: number; warmUp: number; providers: readonly ProviderName[] }
const BOTH = ['google', 'microsoft'] as const
/** A naive backfill of as many mails would take minutes; rates are compared. */
const FULL: Size = { rounds: 7, mails: 20_000, naive: 1_000, warmUp: 5_000, providers: BOTH }
const QUICK: Size = { rounds: 1, mails: 1_000, naive: 100, warmUp: 500, providers: BOTH }

export const LABEL: Record<ProviderName, string> = { google: 'Gmail', microsoft: 'Outlook' }
const RATE_MIN = 0.8
const CPU_MAX = 1.25
const NAIVE_MIN = 10

export async function measure(options: BenchOptions, size: Size = options.quick ? QUICK : FULL): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const provider of size.providers) {
    options.say(`backfill of ${LABEL[provider]}: ${size.rounds} rounds of ${size.mails} mails`)
    figures.push(...figuresOf(LABEL[provider], await runs(options, provider, size)))
  }
  return figures
}

const ownCost = (run: Backfill): number => costOf(run, 'own')

const NAMES = ['service', 'short', 'short again', 'naive'] as const
type Name = (typeof NAMES)[number]

async function runs(options: BenchOptions, provider: ProviderName, size: Size): Promise<Record<Name, Backfill[]>> {
  await using stage = await Stage.start(options)
  const service = theService(stage, await stage.instance('bench'))
  const short = thePipeline(await stage.pipeline(), 'short')
  const naive = thePipeline(await stage.pipeline(), 'naive')
  const run = (contender: Contender, user: string, mails: number): Promise<Backfill> =>
    backfill(stage, contender, { user, provider, mails }, options.signal)
  const warm = [
    [service, size.warmUp],
    [short, size.warmUp],
    [naive, size.naive],
  ] as const
  await warmUp(stage, provider, warm)
  const cell = (name: Name, contender: Contender, mails: number) => ({
    name,
    run: (round: number) => run(contender, `${name.replace(' ', '-')}-${round}`, mails),
  })
  const found = await interleave(
    [
      cell('service', service, size.mails),
      cell('short', short, size.mails),
      cell('naive', naive, size.naive),
      cell('short again', short, size.mails),
    ],
    size.rounds,
    options.signal,
  )
  return Object.fromEntries(NAMES.map((name) => [name, found.get(name) ?? []])) as Record<Name, Backfill[]>
}

function figuresOf(label: string, runs: Record<Name, Backfill[]>): Figure[] {
  const ratio = (
    of: (run: Backfill) => number,
    above: Name,
    below: Name,
  ): Pick<Figure, 'value' | 'unit' | 'rounds'> => {
    const rounds = quotients(runs[above].map(of), runs[below].map(of))
    return { value: median(rounds), unit: 'times', rounds }
  }
  const named = (what: string) => ({ target: 1, name: `${label} backfill: ${what}` })
  const shown = NAMES.filter((name) => name !== 'short again').map(
    (name): Figure => ({
      ...named(`CPU of the ${name === 'service' ? name : `${name} pipeline`}`),
      value: median(runs[name].map(ownCost)),
      unit: 'µs per mail',
      rounds: runs[name].map(ownCost),
      note: notes(runs[name]),
    }),
  )
  return [
    { ...named('rate against the short pipeline'), ...ratio(rateOf, 'service', 'short'), min: RATE_MIN },
    { ...named('CPU per mail against the short pipeline'), ...ratio(ownCost, 'service', 'short'), max: CPU_MAX },
    { ...named('rate against the naive pipeline'), ...ratio(rateOf, 'service', 'naive'), min: NAIVE_MIN },
    { ...named('A/A of the rate'), ...ratio(rateOf, 'short again', 'short') },
    { ...named('A/A of the CPU'), ...ratio(ownCost, 'short again', 'short') },
    ...shown,
  ]
}

function notes(runs: readonly Backfill[]): string {
  const of = (value: (run: Backfill) => number): string => median(runs.map(value)).toFixed(0)
  const [broker, provider] = [of((run) => costOf(run, 'broker')), of((run) => costOf(run, 'provider'))]
  const requests = median(runs.map((run) => (100 * run.requests) / run.mails)).toFixed(1)
  return `${of(rateOf)} mails/s; broker ${broker} µs, provider ${provider} µs; ${requests} requests for 100 mails`
}
