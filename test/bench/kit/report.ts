/** Figures as lines of a terminal, as tables of Markdown, and as JSON. Pure. */
import { type Figure, type Verdict, verdictOf } from './figure.ts'
import type { Machine } from './machine.ts'

export type Report = { machine: Machine; quick: boolean; seconds: number; figures: readonly Figure[] }

/** Three digits that say something; whole numbers from a thousand on. */
export function shownNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  if (size >= 1_000) return Math.round(value).toLocaleString('en')
  if (size >= 100) return value.toFixed(0)
  return value.toFixed(size >= 10 ? 1 : 2)
}

const shownValue = ({ value, unit }: Figure): string => `${shownNumber(value)} ${unit}`.trim()

/** What the value must be, for example `≥ 0.80`; empty when nothing is asked for. */
export function boundOf({ min, max }: Figure): string {
  const bounds = [min === undefined ? '' : `≥ ${shownNumber(min)}`, max === undefined ? '' : `≤ ${shownNumber(max)}`]
  return bounds.filter((bound) => bound !== '').join(' and ')
}

export function lineOf(figure: Figure): string {
  const { target, name, note } = figure
  const parts = [
    verdictOf(figure).padEnd(6),
    String(target).padStart(2),
    name.padEnd(64),
    shownValue(figure).padEnd(18),
  ]
  return [...parts, boundOf(figure).padEnd(8), note ?? ''].join('  ').trimEnd()
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
export function markdownOf({ machine, quick, seconds, figures }: Report): string {
  const form = quick ? 'short form' : 'full form'
  const head =
    `Commit ${machine.commit}, ${form} in ${shownNumber(seconds / 60)} minutes; Node ${machine.node}, nats-server ${machine.server}; ` +
    `${machine.cores} × ${machine.cpu}, ${machine.memoryGb} GB, ${machine.system}. ${summaryOf(figures)}.`
  const targets = [...new Set(figures.map(({ target }) => target))].toSorted((a, b) => a - b)
  const tables = targets.map((target) => {
    const rows = figures
      .filter((figure) => figure.target === target)
      .map((figure) => [figure.name, shownValue(figure), boundOf(figure), NAMES[verdictOf(figure)], figure.note ?? ''])
    const lines = [['figure', 'value', 'target', 'verdict', 'beside it'], ['---', '---:', '---', '---', '---'], ...rows]
    return `### Target ${target}\n\n${lines.map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')}`
  })
  return [head, ...tables].join('\n\n')
}

export const jsonOf = (report: Report): string =>
  `${JSON.stringify({ ...report, figures: report.figures.map((figure) => ({ ...figure, verdict: verdictOf(figure) })) }, null, 2)}\n`

const BEGIN = '<!-- bench: begin -->'
const END = '<!-- bench: end -->'

/** Puts the tables of this run in the place of those of the last one. @throws Error when the document has no place */
export function withTables(document: string, tables: string): string {
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (from === -1 || to < from) throw new Error(`the document lacks ${BEGIN} and ${END}`)
  return `${document.slice(0, from + BEGIN.length)}\n\n${tables}\n\n${document.slice(to)}`
}
