/**
 * Target 5: mailboxes each ten times larger than the one before. Each is fetched by an instance of its own, warm and empty;
 * a larger one is compared with those of a tenth that were fetched directly before and after it.
 */
import type { ProviderName } from '#shared/subjects.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { again, besideTenth } from '../kit/rounds.ts'
import { median } from '../kit/statistics.ts'
import { forgetPeak, peakBytes } from '../kit/usage.ts'
import { LABEL } from './backfill.ts'
import { backfill, rateOf, theService, warmUp } from './backfill-run.ts'
import { Stage } from './stage.ts'

/** `order`: which of the sizes come one after another; those of one list are fetched by the same instance. */
type Plan = { sizes: readonly number[]; order: readonly (readonly number[])[]; warmUp: number; judgesMemory: boolean }
const FULL: Plan = {
  sizes: [5_000, 50_000, 500_000],
  // Seven of 5,000 beside seven of 50,000, and one of 500,000 between two of them: it takes minutes, and its noise is less.
  order: [0, 1, 2, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1].map((at) => [at]),
  warmUp: 20_000,
  judgesMemory: true,
}
/** So few mails do not fill a heap: its size says nothing yet. */
const QUICK: Plan = { sizes: [500, 5_000], order: [[0, 1, 0]], warmUp: 500, judgesMemory: false }

const TIME_MAX = 12
const MEMORY_MAX = 1.1

type Run = { size: number; wallMs: number; rate: number; peak: number }

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const plan = options.quick ? QUICK : FULL
  const figures: Figure[] = []
  for (const provider of ['google', 'microsoft'] as const) {
    const runs: Run[] = []
    for (const sizes of plan.order) runs.push(...(await fetched(options, provider, sizes, plan)))
    figures.push(...figuresOf(LABEL[provider], runs, plan))
  }
  return figures
}

/** One mailbox after another by an instance of their own. */
async function fetched(
  options: BenchOptions,
  provider: ProviderName,
  sizes: readonly number[],
  plan: Plan,
): Promise<Run[]> {
  await using stage = await Stage.start(options)
  const contender = theService(stage, await stage.instance('bench'))
  // A heap that has never been full says nothing about growth.
  await warmUp(stage, provider, [[contender, plan.warmUp]])
  const runs: Run[] = []
  for (const [i, size] of sizes.entries()) {
    const mails = plan.sizes[size] ?? 0
    options.say(`growth of ${LABEL[provider]}: ${mails} mails`)
    forgetPeak(contender.pid)
    const found = await backfill(stage, contender, { user: `user${i}`, provider, mails }, options.signal)
    runs.push({ size, wallMs: found.wallMs, rate: rateOf(found), peak: peakBytes(contender.pid) })
  }
  return runs
}

function figuresOf(label: string, runs: readonly Run[], plan: Plan): Figure[] {
  return plan.sizes.flatMap((mails, size) => {
    const name = `${label}, ${mails.toLocaleString('en')} mails`
    const own = runs.filter((run) => run.size === size)
    const rounds = own.map(({ rate }) => rate)
    const seconds = (median(own.map(({ wallMs }) => wallMs)) / 1_000).toFixed(2)
    const peak = (median(own.map((run) => run.peak)) / 2 ** 20).toFixed(0)
    const shown = { target: 5, name, value: median(rounds), unit: 'mails/s', at: mails, series: label, rounds }
    return [
      { ...shown, note: `${seconds} s; peak ${peak} MB` },
      ...(size === 0 ? noise(name, runs) : growth(name, runs, size, plan)),
    ]
  })
}

/** The same size again: what lies between it and 1 is noise. */
function noise(name: string, runs: readonly Run[]): Figure[] {
  const rounds = again(runs, ({ size }) => size === 0).map(([first, next]) => next.wallMs / first.wallMs)
  return [{ target: 5, name: `${name}: A/A of the time`, value: median(rounds), unit: 'times', rounds }]
}

function growth(name: string, runs: readonly Run[], size: number, { judgesMemory }: Plan): Figure[] {
  const times = (value: (run: Run) => number): Pick<Figure, 'target' | 'unit' | 'value' | 'rounds'> => {
    const rounds = besideTenth(runs, size, value)
    return { target: 5, unit: 'times', value: median(rounds), rounds }
  }
  return [
    { name: `${name}: time of a tenth`, ...times(({ wallMs }) => wallMs), max: TIME_MAX },
    { name: `${name}: memory of a tenth`, ...times(({ peak }) => peak), ...(judgesMemory && { max: MEMORY_MAX }) },
  ]
}
