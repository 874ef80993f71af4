/**
 * Reads the documents: their tables, links, headings and code blocks. Plain text and regular expressions; it knows the
 * few forms of Markdown that our documents use, and judges nothing.
 */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

export type Doc = { path: string; text: string }
export type Block = {
  doc: string
  /** Line of the opening fence, from 1. */
  line: number
  language: string
  /** `file=name` of the opening fence. */
  file: string | undefined
  text: string
}

export const readDoc = (path: string): Doc => ({ path, text: readFileSync(join(ROOT, path), 'utf8') })

/** Every document of the project. */
export const allDocs = (): Doc[] => globSync(['*.md', 'docs/**/*.md'], { cwd: ROOT }).toSorted().map(readDoc)

/**
 * The rows below the head of the table that follows `<!-- table: name -->`, cell by cell.
 * @throws Error when there is no such table.
 */
export function tableOf(doc: Doc, name: string): string[][] {
  const lines = doc.text.split('\n')
  const at = lines.indexOf(`<!-- table: ${name} -->`)
  if (at < 0) throw new Error(`${doc.path} has no table "${name}"`)
  const end = lines.findIndex((line, i) => i > at && !line.startsWith('|'))
  const [head, rule, ...rows] = lines.slice(at + 1, end < 0 ? lines.length : end).map(cellsOf)
  if (head === undefined || rule === undefined || rows.length === 0) throw new Error(`table "${name}" is empty`)
  for (const row of rows)
    if (row.length !== head.length)
      throw new Error(`${doc.path}: a row of "${name}" has ${row.length} cells: ${row[0]}`)
  return rows
}

const cellsOf = (line: string): string[] =>
  line
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.trim())

/** What stands in backticks. */
export const codesIn = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code ?? '')
/** The one thing in backticks. @throws Error when there is another number of them. */
export function codeIn(cell: string): string {
  const [code, ...rest] = codesIn(cell)
  if (code === undefined || rest.length > 0) throw new Error(`not one code: ${cell}`)
  return code
}

export function blocksOf({ path, text }: Doc): Block[] {
  const fence = /^```(\w*)(?: file=(\S+))?\n([\s\S]*?)^```$/gm
  return [...text.matchAll(fence)].map((found) => ({
    doc: path,
    line: text.slice(0, found.index).split('\n').length,
    language: found[1] ?? '',
    file: found[2],
    text: found[3] ?? '',
  }))
}

const withoutBlocks = (text: string): string => text.replace(/^```[\s\S]*?^```$/gm, '')
/** The text without code blocks and without inline code. */
export const proseOf = ({ text }: Doc): string => withoutBlocks(text).replace(/`[^`\n]*`/g, '')
/** What stands in backticks, code blocks aside. */
export const inlineCodesOf = ({ text }: Doc): string[] => codesIn(withoutBlocks(text))

/** Targets of all links, without titles. */
export const linksOf = ({ text }: Doc): string[] =>
  [...withoutBlocks(text).matchAll(/\]\(([^()\s]+)\)/g)].map(([, target]) => target ?? '')

/** The anchors that headings make, as GitHub makes them. */
export const anchorsOf = ({ text }: Doc): Set<string> =>
  new Set(
    [...withoutBlocks(text).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) =>
      (heading ?? '')
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
