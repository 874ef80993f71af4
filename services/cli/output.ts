/**
 * What mailctl writes: text for people, or JSON for programs. Results go to stdout, everything else to stderr.
 * Text that comes from a mail or from NATS loses its control characters, so that no sender drives a terminal.
 */
import { styleText } from 'node:util'

export type Paint = 'green' | 'red' | 'yellow' | 'dim' | 'bold'

export type Output = {
  json: boolean
  /** True when stdout is a terminal: only then are lines overwritten and bars drawn. */
  terminal: boolean
  /** A line of the result, for people; nothing with --json. */
  line(text: string): void
  /** The result, for programs; nothing without --json. One JSON value per line. */
  data(value: unknown): void
  /** Something to know that is no result. */
  note(text: string): void
  paint(paint: Paint, text: string): string
}

export const createOutput = (json: boolean): Output => ({
  json,
  terminal: process.stdout.isTTY && !json,
  line: (text) => void (json || process.stdout.write(`${text}\n`)),
  data: (value) => void (json && process.stdout.write(`${JSON.stringify(value)}\n`)),
  note: (text) => void process.stderr.write(`${text}\n`),
  // styleText knows NO_COLOR and leaves text alone off a terminal.
  paint: (paint, text) => (json ? text : styleText(paint, text, { stream: process.stdout })),
})

/** Foreign text as it may stand on a terminal: one line, no control or formatting characters. */
export const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')

/** Columns of equal width, two spaces apart; the last one is not padded. */
export function table(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}

/** 75 → `1m15s`; null → `?`. */
export function duration(seconds: number | null): string {
  if (seconds === null) return '?'
  if (seconds < 60) return `${Math.round(seconds)}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${String(Math.round(seconds % 60)).padStart(2, '0')}s`
  return `${Math.floor(seconds / 3600)}h${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')}m`
}
