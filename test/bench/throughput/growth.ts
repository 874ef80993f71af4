/** Target 5: mailboxes each ten times larger than the one before. Each is fetched by an instance of its own, warm and empty. */
import type { ProviderName } from '#shared/subjects.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { median } from '../kit/statistics.ts'
import { forgetPeak, peakBytes } from '../kit/usage.ts'
import { LABEL } from './backfill.ts'
import { backfill, rateOf, theService } from './backfill-run.ts'
import { Stage } from './stage.ts'

/** `order`: which of the sizes come one after another; small ones are measured more often, before and after large ones. */
type Plan = { sizes: readonly number[]; order: readonly number[]; warmUp: number; judgesMemory: boolean }
const FULL: Plan = {
  sizes: [5_000, 50_000, 500_000],
  order: [0, 1, 0, 1, 0, 2, 0, 1, 0],
  warmUp: 20_000,
  judgesMemory: true,
}
/** So few mails do not fill a heap: its size says nothing yet. */
const QUICK: Plan = { sizes: [1_000, 10_000], order: [0, 1, 0], warmUp: 1_000, judgesMemory: false }

const TIME_MAX = 12
const MEMORY_MAX = 1.1

type Run = { wallMs: number; rate: number; peak: number }

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const plan = options.quick ? QUICK : FULL
  const figures: Figure[] = []
  for (const provider of ['google', 'microsoft'] as const) {
    const runs = new Map<number, Run[]>(plan.sizes.map((mails) => [mails, []]))
    for (const at of plan.order) {
      const mails = plan.sizes[at] ?? 0
      options.say(`growth of ${LABEL[provider]}: ${mails} mails`)
      runs.get(mails)?.push(await run(options, provider, mails, plan.warmUp))
    }
    figures.push(...figuresOf(LABEL[provider], runs, plan))
  }
  return figures
}

async function run(options: BenchOptions, provider: ProviderName, mails: number, warmUp: number): Promise<Run> {
  await using stage = await Stage.start(options)
  const contender = theService(stage, await stage.instance('bench'))
  // A heap that has never been full says nothing about growth.
  await backfill(stage, contender, { user: 'warm', provider, mails: warmUp }, options.signal)
  forgetPeak(contender.pid)
  const found = await backfill(stage, contender, { user: 'large', provider, mails }, options.signal)
  return { wallMs: found.wallMs, rate: rateOf(found), peak: peakBytes(contender.pid) }
}

function figuresOf(label: string, runs: ReadonlyMap<number, readonly Run[]>, plan: Plan): Figure[] {
  const figures: Figure[] = []
  let before: readonly Run[] | null = null
  for (const [mails, found] of runs) {
    const of = (value: (run: Run) => number): number => median(found.map(value))
    const name = `${label}, ${mails.toLocaleString('en')} mails`
    const times = found.map(({ wallMs }) => wallMs / 1_000)
    const noise = found.length === 1 ? '' : ` (${Math.min(...times).toFixed(2)} to ${Math.max(...times).toFixed(2)})`
    const peak = (of((run) => run.peak) / 2 ** 20).toFixed(0)
    const note = `${median(times).toFixed(2)} s${noise} in ${found.length} runs; peak ${peak} MB`
    const rate = of((run) => run.rate)
    figures.push({ target: 5, name, value: rate, unit: 'mails/s', at: mails, series: label, note })
    if (before !== null) figures.push(...growth(name, found, before, plan))
    before = found
  }
  return figures
}

function growth(name: string, larger: readonly Run[], smaller: readonly Run[], { judgesMemory }: Plan): Figure[] {
  const times = (value: (run: Run) => number): number => median(larger.map(value)) / median(smaller.map(value))
  const of = { target: 5, unit: 'times' }
  const most = judgesMemory ? { max: MEMORY_MAX } : {}
  return [
    { ...of, name: `${name}: time of a tenth`, value: times(({ wallMs }) => wallMs), max: TIME_MAX },
    { ...of, name: `${name}: memory of a tenth`, value: times(({ peak }) => peak), ...most },
  ]
}
