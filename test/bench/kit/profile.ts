/** Where the main thread of an instance spends its time: V8's profile, and what each part of the service has of it. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { InstanceProcess } from '../../support/instance.ts'
import { Inspector } from './inspector.ts'

type Frame = { functionName: string; url: string }
type Node = { id: number; callFrame: Frame; children?: number[] }
/** As V8 gives it, and as the browser's tools read it. Times in µs. */
export type Profile = { nodes: Node[]; samples: number[]; timeDeltas: number[] }

const SAMPLE_EVERY_US = 500
const SHOWN = 30
/** Whoever makes it: it is collected when there is enough of it, and whoever is at work then has nothing to do with that. */
const GARBAGE = '(garbage collector)'

/**
 * Begins at once. The instance has to be started with `INSPECTED`.
 * @returns ends it: keeps the profile in the folder and tells the largest shares
 */
export async function profiled(
  instance: InstanceProcess,
  folder: string,
  say: (text: string) => void,
): Promise<() => Promise<void>> {
  const inspector = await Inspector.of(instance)
  await inspector.call('Profiler.enable')
  await inspector.call('Profiler.setSamplingInterval', { interval: SAMPLE_EVERY_US })
  await inspector.call('Profiler.start')
  return async () => {
    using _ = inspector
    const { profile } = (await inspector.call('Profiler.stop')) as { profile: Profile }
    const file = join(folder, `${instance.pid}.cpuprofile`)
    mkdirSync(folder, { recursive: true })
    writeFileSync(file, JSON.stringify(profile))
    say(`profile of the instance: ${relative(process.cwd(), file)}`)
    for (const { area, part } of sharesOf(profile).slice(0, SHOWN))
      say(`${(100 * part).toFixed(1).padStart(5)} %  ${area}`)
  }
}

export type Share = { area: string; part: number }

/**
 * What is done in a library or in Node counts for the file of ours that asked for it.
 * @returns of the time in which the thread had something to do, the largest first
 */
export function sharesOf({ nodes, samples, timeDeltas }: Profile): Share[] {
  const areas = new Map<number, string>()
  const byId = new Map(nodes.map((node) => [node.id, node]))
  /** Bound: the nodes. */
  const open: { id: number; above: string | null }[] = [{ id: nodes[0]?.id ?? 0, above: null }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { callFrame, children = [] } = byId.get(next.id) ?? { callFrame: { functionName: '', url: '' } }
    const own = callFrame.functionName === GARBAGE ? GARBAGE : areaOf(callFrame.url)
    areas.set(next.id, own ?? next.above ?? elsewhere(callFrame))
    for (const id of children) open.push({ id, above: own ?? next.above })
  }
  const times = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const area = areas.get(id) ?? ''
    times.set(area, (times.get(area) ?? 0) + (timeDeltas[i] ?? 0))
  }
  times.delete('(idle)')
  const busy = [...times.values()].reduce((sum, time) => sum + time, 0)
  return [...times].map(([area, time]) => ({ area, part: time / busy })).toSorted((a, b) => b.part - a.part)
}

/** A file of the service; null = of somebody else. */
const areaOf = (url: string): string | null => /\/(?:services\/mail|shared)\/(.+)\.ts$/.exec(url)?.[1] ?? null

/** Without anybody of ours above: the event loop, a library that a socket woke, the collection of garbage. */
function elsewhere({ functionName, url }: Frame): string {
  const library = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1]
  if (library !== undefined) return library
  return url.startsWith('node:') ? 'node' : functionName === '(root)' ? '(program)' : functionName
}
