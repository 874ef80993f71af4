/** Figures of a benchmark with their targets: one line each, and the verdict. Pure. */
import { percentile } from '../kit/statistics.ts'

export type Figure = { name: string; value: string; target: string; met: boolean }

export const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`
export const percent = (part: number): string => `${(part * 100).toFixed(1)} %`

/** p50, p99 and max of latencies in ms. */
export const spread = (values: readonly number[]): string =>
  [
    `p50 ${seconds(percentile(values, 0.5))}`,
    `p99 ${seconds(percentile(values, 0.99))}`,
    `max ${seconds(percentile(values, 1))}`,
  ].join(' · ')

export const lineOf = ({ name, value, target, met }: Figure): string =>
  `${met ? 'ok  ' : 'MISS'} ${name.padEnd(34)} ${value.padEnd(44)} target ${target}`

export function verdictOf(figures: readonly Figure[]): { line: string; met: boolean } {
  const missed = figures.filter(({ met }) => !met)
  if (missed.length === 0) return { line: `verdict: all ${figures.length} targets are met`, met: true }
  return {
    line: `verdict: ${missed.length} of ${figures.length} targets are missed: ${missed.map(({ name }) => name).join('; ')}`,
    met: false,
  }
}
