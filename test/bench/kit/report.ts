/** Figures as lines of a terminal, as tables of Markdown, and as JSON. Pure. */
import { type Figure, type Verdict, verdictOf } from './figure.ts'
import type { Machine } from './machine.ts'
import { median, percentile } from './statistics.ts'

export type Report = {
  machine: Machine
  quick: boolean
  /** What was measured, in its order, how long that took, and which share of the processors' time the host took meanwhile. */
  parts: readonly { name: string; seconds: number; stolen: number; failed: boolean }[]
  figures: readonly Figure[]
}

/** Three digits that say something; whole numbers from a thousand on. `more`: so many decimals beyond that. */
export function shownNumber(value: number, more = 0): string {
  if (!Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  const digits = more + (size >= 100 ? 0 : size >= 10 ? 1 : 2)
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

const MORE_MAX = 4

/** As many decimals as tell it from its bounds: 0.796 is not shown as the 0.80 that it misses. */
function shownValue({ value, unit, min, max }: Figure): string {
  const bounds = [min, max].filter((bound) => bound !== undefined && bound !== value)
  let more = 0
  while (more < MORE_MAX && bounds.some((bound) => shownNumber(bound ?? 0, more) === shownNumber(value, more))) more++
  return `${shownNumber(value, more)} ${unit}`.trim()
}

/** What the value must be, for example `≥ 0.80`; empty when nothing is asked for. */
export function boundOf({ min, max, stretch }: Figure): string {
  const bounds = [min === undefined ? '' : `≥ ${shownNumber(min)}`, max === undefined ? '' : `≤ ${shownNumber(max)}`]
  const asked = bounds.filter((bound) => bound !== '').join(' and ')
  return stretch === undefined ? asked : `${asked} (stretch ≤ ${shownNumber(stretch)})`.trim()
}

/** What stands beside the value, and from where to where its rounds reach. */
function noteOf({ note = '', rounds = [], measured = rounds }: Figure): string {
  if (rounds.length < 2) return note
  const [low, high] = [Math.min(...rounds), Math.max(...rounds)].map((value) => shownNumber(value))
  const left = measured.length - rounds.length
  const disturbed =
    left === 0 ? '' : `${left} of ${measured.length} disturbed, ${shownNumber(median(measured))} with them`
  return [`${low} to ${high} in ${rounds.length}`, note, disturbed].filter((text) => text !== '').join('; ')
}

export function lineOf(figure: Figure): string {
  const { target, name } = figure
  const parts = [
    verdictOf(figure).padEnd(6),
    String(target).padStart(2),
    name.padEnd(64),
    shownValue(figure).padEnd(18),
  ]
  return [...parts, boundOf(figure).padEnd(8), noteOf(figure)].join('  ').trimEnd()
}

/** How many of the targets that were measured are met: one is, when each of its figures is. */
export function summaryOf(figures: readonly Figure[]): string {
  const judged = figures.filter((figure) => verdictOf(figure) !== 'shown')
  const targets = [...new Set(judged.map(({ target }) => target))].toSorted((a, b) => a - b)
  const isMissed = (target: number): boolean =>
    judged.some((figure) => figure.target === target && verdictOf(figure) === 'missed')
  const missed = targets.filter(isMissed)
  const list = missed.length === 0 ? '' : `, missed: ${missed.join(', ')}`
  return `targets measured: ${targets.length}, met: ${targets.length - missed.length}${list}`
}

const NAMES: Record<Verdict, string> = { met: 'met', missed: '**missed**', shown: '' }
const cell = (text: string): string => text.replaceAll('|', '\\|')

/** A table for each target, and where and with what they were measured. */
export function markdownOf({ machine, quick, parts, figures }: Report): string {
  const minutes = shownNumber(parts.reduce((sum, { seconds }) => sum + seconds, 0) / 60)
  const each = parts.map(
    ({ name, seconds, stolen, failed }) =>
      `${name} ${Math.round(seconds)} s, ${shownNumber(stolen * 100)} % stolen${failed ? ' (**failed**)' : ''}`,
  )
  const form = quick ? 'short form' : 'full form'
  const head =
    `Commit ${machine.commit}, ${form} in ${minutes} minutes; Node ${machine.node}, nats-server ${machine.server}; ` +
    `${machine.cores} × ${machine.cpu}, ${machine.memoryGb} GB, ${machine.system}, ${machine.disk.kind}. ${summaryOf(figures)}.` +
    `\n\nParts: ${each.join('; ')}.`
  const targets = [...new Set(figures.map(({ target }) => target))].toSorted((a, b) => a - b)
  const tables = targets.map((target) => {
    const rows = figures
      .filter((figure) => figure.target === target)
      .map((figure) => [figure.name, shownValue(figure), boundOf(figure), NAMES[verdictOf(figure)], noteOf(figure)])
    const lines = [['figure', 'value', 'target', 'verdict', 'beside it'], ['---', '---:', '---', '---', '---'], ...rows]
    return `### Target ${target}\n\n${lines.map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')}`
  })
  return [head, ...tables].join('\n\n')
}

const QUANTILES = { min: 0, p25: 0.25, p50: 0.5, p75: 0.75, p90: 0.9, p99: 0.99, max: 1 }
const DIGITS = 4
const rounded = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(DIGITS)) : value

/** One line for each figure; of thousands of samples their quantiles. */
export function jsonOf({ figures, ...run }: Report): string {
  const lines = figures.map(({ samples, ...figure }) => {
    const quantiles =
      samples && Object.fromEntries(Object.entries(QUANTILES).map(([name, part]) => [name, percentile(samples, part)]))
    return `    ${JSON.stringify({ ...figure, verdict: verdictOf(figure), quantiles }, rounded)}`
  })
  const head = JSON.stringify(run, rounded, 2).slice(0, -2)
  return `${head},\n  "figures": [\n${lines.join(',\n')}\n  ]\n}\n`
}

const BEGIN = '<!-- bench: begin -->'
const END = '<!-- bench: end -->'

/** Puts the tables of this run in the place of those of the last one. @throws Error when the document has no place */
export function withTables(document: string, tables: string): string {
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (from === -1 || to < from) throw new Error(`the document lacks ${BEGIN} and ${END}`)
  return `${document.slice(0, from + BEGIN.length)}\n\n${tables}\n\n${document.slice(to)}`
}
