/** Which figures are drawn, and how. A picture for which nothing was measured is left out. */
import { histogram, lineChart, type Series } from './chart.ts'
import type { Figure } from './figure.ts'

export type Picture = { file: string; svg: string }

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
  const growth = seriesOf(figures.filter(({ target, unit }) => target === 5 && unit === 'mails/s'))
  if (growth.length > 0) {
    const x = { label: 'mails in the mailbox', log: true }
    const chart = { title: 'Backfill: throughput against the size of the mailbox', x, y: { label: 'mails/s' } }
    pictures.push({ file: 'bench-throughput.svg', svg: lineChart({ ...chart, series: growth }) })
  }
  const users = seriesOf(figures.filter(({ unit }) => unit === '% of a core'))
  if (users.length > 0) {
    const x = { label: 'users', log: true }
    const chart = { title: 'CPU of one instance against its users', x, y: { label: '% of a core' } }
    pictures.push({ file: 'bench-users.svg', svg: lineChart({ ...chart, series: users }) })
  }
  const latencies = figures.filter(({ target, samples }) => target === 3 && samples !== undefined)
  if (latencies.length > 0) {
    const series = latencies.map(({ name, samples = [] }) => ({ name, values: samples }))
    pictures.push({
      file: 'bench-latency.svg',
      svg: histogram({ title: 'Latency of a single mail', label: 'ms', series }),
    })
  }
  return pictures
}
