/** Windows in which the machine was the benchmark's own, as far as its host lets see it (ADR 0054). */
import { type ProcessorTime, processorTime, stolenShare } from './stolen.ts'

/** Of the processors' time, to others, in a window that counts. */
export const STOLEN_MAX = 0.1

/** What the windows that count gave, in the order of time, and how many were measured for that. */
export type Undisturbed<T> = { values: T[]; measured: number }

/**
 * Measures windows one after another until in `count` of them the host took no more than STOLEN_MAX, or twice as many have been
 * measured: then those count in which it took the least. Nobody looks at what they gave.
 * @param measure one window. @throws what it throws
 */
export async function undisturbed<T>(
  count: number,
  measure: () => Promise<T>,
  processors: () => ProcessorTime = processorTime,
): Promise<Undisturbed<T>> {
  /** Bound: twice `count`. */
  const windows: { value: T; stolen: number }[] = []
  const quiet = (): number => windows.filter(({ stolen }) => stolen <= STOLEN_MAX).length
  while (windows.length < 2 * count && quiet() < count) {
    const from = processors()
    const value = await measure()
    windows.push({ value, stolen: stolenShare(from, processors()) })
  }
  const counting = new Set(windows.toSorted((a, b) => a.stolen - b.stolen).slice(0, count))
  return {
    values: windows.filter((window) => counting.has(window)).map(({ value }) => value),
    measured: windows.length,
  }
}

/** How many windows were measured again, to stand beside a figure; nothing when none was. */
export const againNote = ({ values, measured }: Undisturbed<unknown>): string =>
  measured === values.length ? '' : `${measured - values.length} of ${measured} disturbed`
