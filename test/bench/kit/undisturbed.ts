/** Windows in which the machine was the benchmark's own, as far as its host lets see it (ADR 0054). */
import type { Figure } from './figure.ts'
import { median } from './statistics.ts'
import { type ProcessorTime, processorTime, stolenShare } from './stolen.ts'

/** Of the processors' time, to others, in a window that counts. */
const STOLEN_MAX = 0.1

/** What the windows that count gave, and what all gave, each in the order of time. */
export type Undisturbed<T> = { values: T[]; all: T[] }

/** How many windows count; `again`: those that the host disturbed are measured again, which the short form has no time for. */
export type Windows = { windows: number; again: boolean }

/**
 * Measures windows one after another until in so many of them the host took no more than STOLEN_MAX, or twice as many have been
 * measured: then those count in which it took the least. Nobody looks at what they gave.
 * @param measure one window. @throws what it throws
 */
export async function undisturbed<T>(
  { windows: count, again }: Windows,
  measure: () => Promise<T>,
  processors: () => ProcessorTime = processorTime,
): Promise<Undisturbed<T>> {
  const most = again ? 2 * count : count
  /** Bound: `most`. */
  const windows: { value: T; stolen: number }[] = []
  const quiet = (): number => windows.filter(({ stolen }) => stolen <= STOLEN_MAX).length
  while (windows.length < most && quiet() < count) {
    const from = processors()
    const value = await measure()
    windows.push({ value, stolen: stolenShare(from, processors()) })
  }
  const counting = new Set(windows.toSorted((a, b) => a.stolen - b.stolen).slice(0, count))
  const valuesOf = (of: typeof windows): T[] => of.map(({ value }) => value)
  return { values: valuesOf(windows.filter((window) => counting.has(window))), all: valuesOf(windows) }
}

/** The median of what one value is made of each window that counts; with all windows beside it when some do not. */
export function medianOf<T>(
  { values, all }: Undisturbed<T>,
  of: (value: T) => number,
): Required<Pick<Figure, 'value' | 'rounds'>> & Pick<Figure, 'measured'> {
  const rounds = values.map(of)
  return { value: median(rounds), rounds, ...(all.length > values.length && { measured: all.map(of) }) }
}
