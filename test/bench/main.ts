/**
 * `make bench`: every target of the performance with its figure and whether it is met. QUICK=1: the short form; ONLY=name:
 * one module; WRITE=1: the tables, the JSON file and the pictures go into docs/ as well. Exit 0 when everything was measured,
 * whatever the verdicts say, 1 when a part could not be, 130 or 143 when it was stopped.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Figure } from './kit/figure.ts'
import { thisMachine } from './kit/machine.ts'
import type { BenchOptions } from './kit/options.ts'
import { picturesOf } from './kit/pictures.ts'
import { jsonOf, lineOf, markdownOf, type Report, summaryOf, withTables } from './kit/report.ts'
import { refuseOtherSystems } from './kit/usage.ts'

type Module = { measure(options: BenchOptions): Promise<Figure[]> }

/** In the order in which they run. */
const MODULES: Record<string, () => Promise<Module>> = {
  backfill: () => import('./throughput/backfill.ts'),
  growth: () => import('./throughput/growth.ts'),
  'project-quota': () => import('./throughput/project-quota.ts'),
  outbox: () => import('./throughput/outbox.ts'),
  idle: () => import('./scale/idle.ts'),
  latency: () => import('./scale/latency.ts'),
  status: () => import('./scale/status.ts'),
  budget: () => import('./scale/budget.ts'),
  fairness: () => import('./scale/fairness.ts'),
  start: () => import('./scale/start.ts'),
}

const DOCS = join(import.meta.dirname, '../../docs')
const STOP_DEADLINE_MS = 15_000
const EXIT_OF = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

const isSet = (name: string): boolean => !['', '0', undefined].includes(process.env[name])
const only = process.env.ONLY ?? ''
if (only !== '' && !(only in MODULES)) {
  process.stderr.write(`ONLY: one of ${Object.keys(MODULES).join(', ')}\n`)
  process.exit(64)
}

const dir = mkdtempSync(join(tmpdir(), 'mail-sync-bench-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }))
const stop = new AbortController()
let stoppedBy: keyof typeof EXIT_OF | undefined
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(name, () => {
    if (stoppedBy !== undefined) process.exit(EXIT_OF[name])
    stoppedBy = name
    stop.abort(new Error(`stopped by ${name}`))
    setTimeout(() => process.exit(EXIT_OF[name]), STOP_DEADLINE_MS).unref()
  })

const started = performance.now()
const elapsedS = (): number => (performance.now() - started) / 1_000
const say = (text: string): void => void process.stdout.write(`${text}\n`)
const step = (text: string): void => say(`${elapsedS().toFixed(0).padStart(6)} s  ${text}`)
const options: BenchOptions = { quick: isSet('QUICK'), say: step, signal: stop.signal, dir }

async function measureAll(): Promise<{ figures: Figure[]; failed: string[] }> {
  const figures: Figure[] = []
  const failed: string[] = []
  for (const [name, load] of Object.entries(MODULES)) {
    if (only !== '' && only !== name) continue
    try {
      const found = await (await load()).measure(options)
      for (const figure of found) say(lineOf(figure))
      figures.push(...found)
    } catch (error) {
      stop.signal.throwIfAborted()
      failed.push(name)
      process.stderr.write(`${name} could not be measured: ${error instanceof Error ? error.stack : String(error)}\n`)
    }
  }
  return { figures, failed }
}

function write(report: Report): void {
  const document = join(DOCS, 'performance.md')
  const pictures = picturesOf(report.figures)
  const shown = pictures.map(({ file, title }) => `![${title}](${file})`)
  const tables = [markdownOf(report), ...shown].join('\n\n')
  writeFileSync(document, withTables(readFileSync(document, 'utf8'), tables))
  writeFileSync(join(DOCS, 'bench.json'), jsonOf(report))
  for (const { file, svg } of pictures) writeFileSync(join(DOCS, file), svg)
}

try {
  refuseOtherSystems()
  const machine = await thisMachine()
  say(`commit ${machine.commit} · node ${machine.node} · nats-server ${machine.server}`)
  say(`${machine.cores} cores (${machine.cpu}) for everything; sync_interval as in nats.conf`)
  const { figures, failed } = await measureAll()
  const report = { machine, quick: options.quick, seconds: elapsedS(), figures }
  say('')
  for (const figure of figures) say(lineOf(figure))
  say(`${summaryOf(figures)} (${elapsedS().toFixed(0)} s)`)
  if (isSet('WRITE') && failed.length === 0) write(report)
  if (failed.length > 0) process.stderr.write(`not measured: ${failed.join(', ')}\n`)
  process.exitCode = failed.length > 0 ? 1 : 0
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = stoppedBy === undefined ? 1 : EXIT_OF[stoppedBy]
}
