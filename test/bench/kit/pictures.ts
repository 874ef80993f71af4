/** Which figures are drawn, and how. A picture for which nothing was measured is left out. */
import { histogram, lineChart, type Series } from './chart.ts'
import type { Figure } from './figure.ts'

export type Picture = { file: string; title: string; svg: string }

/** The figures that have a place on the x axis, one line for each series. */
function seriesOf(figures: readonly Figure[]): Series[] {
  const lines = new Map<string, Series & { points: { x: number; y: number }[] }>()
  for (const { series, at, name, value } of figures) {
    if (at === undefined) continue
    const key = series ?? name
    const found = lines.get(key) ?? { name: key, points: [] }
    found.points.push({ x: at, y: value })
    lines.set(key, found)
  }
  return [...lines.values()]
}

export function picturesOf(figures: readonly Figure[]): Picture[] {
  const pictures: Picture[] = []
  const lines = (file: string, title: string, axes: { x: string; y: string }, chosen: readonly Figure[]): void => {
    const series = seriesOf(chosen)
    if (series.length === 0) return
    const x = { label: axes.x, log: true }
    pictures.push({ file, title, svg: lineChart({ title, x, y: { label: axes.y }, series }) })
  }
  lines(
    'bench-throughput.svg',
    'Backfill: throughput against the size of the mailbox',
    { x: 'mails in the mailbox', y: 'mails/s' },
    figures.filter(({ target, unit }) => target === 5 && unit === 'mails/s'),
  )
  lines(
    'bench-users.svg',
    'CPU of one instance against its users',
    { x: 'users', y: '% of a core' },
    figures.filter(({ unit }) => unit === '% of a core'),
  )
  const latencies = figures.filter(({ target, samples }) => target === 3 && samples !== undefined)
  if (latencies.length > 0) {
    const series = latencies.map(({ name, series = name, samples = [] }) => ({ name: series, values: samples }))
    const title = 'Latency of a single mail'
    pictures.push({ file: 'bench-latency.svg', title, svg: histogram({ title, label: 'ms', series }) })
  }
  return pictures
}
