/** Target 9: from exec until the endpoints answer. How ten thousand users go on is measured where there are so many: idle.ts. */
import { requestOperation } from '#shared/control-client.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { oddAgainstEven } from '../kit/statistics.ts'
import { ended } from '../kit/stop.ts'
import { medianOf, undisturbed } from '../kit/undisturbed.ts'
import { World } from './world.ts'

const STARTS = { full: { windows: 15, again: true }, quick: { windows: 3, again: false } }
/** Asked more often, the benchmark takes from the processors what it measures: 30 ms of 420 at every 2 ms. A start counts as up to so much longer. */
const DEADLINE = { timeoutMs: 30_000, everyMs: 10 }

export async function measure({ quick, signal }: BenchOptions): Promise<Figure[]> {
  await using world = await World.start()
  // The first one makes stream, buckets and databases, and fills the cache of compiled code.
  await answersAfter(world, signal)
  const starts = await undisturbed(quick ? STARTS.quick : STARTS.full, () => answersAfter(world, signal))
  const of = { target: 9, unit: 'ms' }
  return [
    { ...of, name: 'endpoints answer after exec', ...medianOf(starts, (ms) => ms), max: 500 },
    { ...of, name: 'endpoints answer after exec, A/A', value: oddAgainstEven(starts.values), unit: 'times' },
  ]
}

/** Starts an instance, asks until it answers, and stops it again. @returns ms */
async function answersAfter({ box, nc }: World, signal: AbortSignal): Promise<number> {
  const from = performance.now()
  const starting = box.spawn('a')
  const ask = async (): Promise<number> => {
    // Of a user of whom nobody has heard: the instance answers by itself.
    await requestOperation(nc, 'status', { asUser: 'nobody', body: {}, requestId: 'bench', timeoutMs: 1_000 })
    return performance.now() - from
  }
  const [instance, tookMs] = await Promise.all([starting, until('it answers', ask, { ...DEADLINE, signal })])
  await ended(instance, signal)
  return tookMs
}
