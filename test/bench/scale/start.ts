/** Target 9: from exec until the endpoints answer. How ten thousand users go on is measured where there are so many: idle.ts. */
import { requestOperation } from '#shared/control-client.ts'
import { until } from '../../support/until.ts'
import type { Figure } from '../kit/figure.ts'
import type { BenchOptions } from '../kit/options.ts'
import { median } from '../kit/statistics.ts'
import { World } from './world.ts'

const STARTS = { full: 15, quick: 5 }
const DEADLINE = { timeoutMs: 30_000, everyMs: 2 }

export async function measure({ quick, signal }: BenchOptions): Promise<Figure[]> {
  await using world = await World.start()
  // The first one makes stream, buckets and databases, and fills the cache of compiled code.
  await answersAfter(world, signal)
  const samples: number[] = []
  for (let i = 0; i < (quick ? STARTS.quick : STARTS.full); i++) samples.push(await answersAfter(world, signal))
  return [
    {
      ...{ target: 9, name: 'endpoints answer after exec, median', value: median(samples), unit: 'ms', max: 500 },
      ...{ note: `${samples.length} starts, the slowest ${Math.max(...samples).toFixed(0)} ms`, samples },
    },
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
  await instance.kill('SIGTERM')
  return tookMs
}
