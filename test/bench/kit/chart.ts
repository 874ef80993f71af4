/** Line charts and histograms as SVG text, readable on a light and on a dark page. Pure. */
import { shownNumber } from './report.ts'

export type Point = { x: number; y: number }
export type Series = { name: string; points: readonly Point[] }
type Axis = { label: string; log?: boolean }
export type LineChart = { title: string; x: Axis; y: Axis; series: readonly Series[] }

const WIDTH = 720
/** With one line of names below. */
const HEIGHT = 400
const LINE_HEIGHT = 22
/** Of the font below, rather too wide than too narrow. */
const CHAR_WIDTH = 7.5
const BOX = { left: 80, right: 700, top: 50, bottom: 330 } as const
const TICKS = 5

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

const STYLE = `
  svg { font: 13px system-ui, sans-serif; --ink: #1f2328; --faint: #d1d9e0; --page: #ffffff; --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; }
  @media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --faint: #3d444d; --page: #0d1117; --c0: #58a6ff; --c1: #f0883e; --c2: #3fb950; --c3: #bc8cff; } }
  .page { fill: var(--page); } text { fill: var(--ink); } .title { font-size: 16px; font-weight: 600; }
  .grid { stroke: var(--faint); } .axis { stroke: var(--ink); } path { fill: none; stroke-width: 2; }
  ${[0, 1, 2, 3].map((i) => `.l${i} { stroke: var(--c${i}); } .d${i} { fill: var(--c${i}); }`).join(' ')}
`

const text = (x: number, y: number, content: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(content)}</text>`
const line = (x1: number, y1: number, x2: number, y2: number, name: string): string =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" class="${name}"/>`

function picture(title: string, parts: readonly string[], names: readonly string[]): string {
  const below = legend(names)
  const height = HEIGHT + (below.lines - 1) * LINE_HEIGHT
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${WIDTH}" height="${height}"/>`,
    text(BOX.left, 28, title, 'class="title"'),
    ...parts,
    ...below.parts,
    '</svg>\n',
  ].join('\n')
}

/** A number a little larger that is easy to read: 1, 2 or 5 and zeros. */
export function niceAbove(value: number): number {
  if (!(value > 0)) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value) ?? 10 * power
}

function axes(x: Axis, y: Axis, xTicks: readonly [at: number, label: string][], top: number): string[] {
  const grid = Array.from({ length: TICKS + 1 }, (_, i) => {
    const at = BOX.bottom - ((BOX.bottom - BOX.top) * i) / TICKS
    const label = text(BOX.left - 8, at + 4, shownNumber((top * i) / TICKS), 'text-anchor="end"')
    return line(BOX.left, at, BOX.right, at, 'grid') + label
  })
  const middle = (BOX.left + BOX.right) / 2
  return [
    ...grid,
    line(BOX.left, BOX.bottom, BOX.right, BOX.bottom, 'axis'),
    ...xTicks.map(([at, label]) => text(at, BOX.bottom + 20, label, 'text-anchor="middle"')),
    text(middle, BOX.bottom + 42, x.label, 'text-anchor="middle"'),
    text(
      20,
      (BOX.top + BOX.bottom) / 2,
      y.label,
      `text-anchor="middle" transform="rotate(-90 20 ${(BOX.top + BOX.bottom) / 2})"`,
    ),
  ]
}

/** One name after another, in as many lines as they need. */
function legend(names: readonly string[]): { parts: string[]; lines: number } {
  let [x, lines] = [BOX.left as number, 1]
  const parts = names.map((name, i) => {
    const width = 18 + name.length * CHAR_WIDTH
    if (x > BOX.left && x + width > BOX.right) {
      x = BOX.left
      lines++
    }
    const [left, y] = [x, HEIGHT - 8 + (lines - 1) * LINE_HEIGHT]
    x += width + 24
    return `<rect x="${left.toFixed(1)}" y="${y - 10}" width="12" height="12" class="d${i % 4}"/>${text(left + 18, y, name)}`
  })
  return { parts, lines }
}

/** A point that is alone in its series bears its name, on the side where there is room. */
function labelOf(name: string, x: number, y: number): string {
  const isRight = x + 10 + name.length * CHAR_WIDTH > BOX.right
  return text(isRight ? x - 10 : x + 10, y - 8, name, `text-anchor="${isRight ? 'end' : 'start'}"`)
}

/** Lines from zero upwards; `x.log` spreads sizes that grow by factors. Needs a point. */
export function lineChart({ title, x, y, series }: LineChart): string {
  const points = series.flatMap((one) => one.points)
  const scale = x.log === true ? Math.log10 : (value: number) => value
  const xs = points.map((point) => scale(point.x))
  const [low, high] = [x.log === true ? Math.min(...xs) : 0, Math.max(...xs)]
  const top = niceAbove(Math.max(...points.map((point) => point.y)))
  const atX = (value: number): number =>
    BOX.left + 20 + ((BOX.right - BOX.left - 40) * (scale(value) - low)) / (high - low || 1)
  const atY = (value: number): number => BOX.bottom - ((BOX.bottom - BOX.top) * value) / top
  const ticks = [...new Set(points.map((point) => point.x))].map((value): [number, string] => [
    atX(value),
    shownNumber(value),
  ])
  const lines = series.map(({ name, points: own }, i) => {
    const sorted = own.toSorted((a, b) => a.x - b.x)
    const steps = sorted.map((point) => `${atX(point.x).toFixed(1)} ${atY(point.y).toFixed(1)}`)
    const dots = sorted.map(
      (point) => `<circle cx="${atX(point.x).toFixed(1)}" cy="${atY(point.y).toFixed(1)}" r="4" class="d${i % 4}"/>`,
    )
    const [only] = sorted
    if (sorted.length === 1 && only !== undefined) return dots.join('') + labelOf(name, atX(only.x), atY(only.y))
    return `<path d="M${steps.join(' L')}" class="l${i % 4}"/>${dots.join('')}`
  })
  return picture(
    title,
    [...axes(x, y, ticks, top), ...lines],
    series.map(({ name }) => name),
  )
}

const BARS = 40

export type Histogram = { title: string; label: string; series: readonly { name: string; values: readonly number[] }[] }

/** How often each value came, as a part of all of its series; what lies above the last bar is counted in it. */
export function histogram({ title, label, series }: Histogram): string {
  const all = series.flatMap(({ values }) => values).toSorted((a, b) => a - b)
  const most = niceAbove(all[Math.floor(all.length * 0.995)] ?? 1)
  const shares = series.map(({ values }) => {
    const counts = new Array<number>(BARS).fill(0)
    for (const value of values) {
      const bar = Math.min(BARS - 1, Math.floor((value / most) * BARS))
      counts[bar] = (counts[bar] ?? 0) + 1
    }
    return counts.map((count) => (100 * count) / (values.length || 1))
  })
  const top = niceAbove(Math.max(...shares.flat()))
  const [width, height] = [(BOX.right - BOX.left) / BARS, BOX.bottom - BOX.top]
  const bars = shares.map((share, i) =>
    share
      .map((part, bar) => {
        const [x, tall] = [BOX.left + bar * width, (height * part) / top]
        return `<rect x="${x.toFixed(1)}" y="${(BOX.bottom - tall).toFixed(1)}" width="${(width - 1).toFixed(1)}" height="${tall.toFixed(1)}" class="d${i % 4}" opacity="0.6"/>`
      })
      .join(''),
  )
  const ticks = Array.from({ length: TICKS + 1 }, (_, i): [number, string] => [
    BOX.left + ((BOX.right - BOX.left) * i) / TICKS,
    shownNumber((most * i) / TICKS),
  ])
  return picture(
    title,
    [...axes({ label }, { label: '% of all' }, ticks, top), ...bars],
    series.map(({ name }) => name),
  )
}
