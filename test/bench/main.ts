/**
 * `make bench`: every target of the performance with its figure and whether it is met. QUICK=1: the short form; ONLY=name:
 * one module; PROFILE=1: where the time of an instance goes; WRITE=1: the tables, the JSON file and the pictures of a whole
 * run in full go into docs/ as well. Exit 0 when everything was measured, whatever the verdicts say, 1 when a part could not
 * be, 64 for what cannot be asked for, 130 or 143 when it was stopped.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import type { Figure } from './kit/figure.ts'
import { type Machine, thisMachine } from './kit/machine.ts'
import type { BenchOptions } from './kit/options.ts'
import { picturesOf } from './kit/pictures.ts'
// Loaded before this file runs: at the end of the process its children are killed first, and then their folder is removed.
import './kit/program.ts'
import { jsonOf, lineOf, markdownOf, type Report, shownNumber, summaryOf, withTables } from './kit/report.ts'
import { processorTime, stolenShare } from './kit/stolen.ts'
import { refuseOtherSystems } from './kit/usage.ts'

type Module = { measure(options: BenchOptions): Promise<Figure[]> }

/** In the order in which they run: those first that a busy machine spoils soonest, so that such a run can be stopped early. */
const MODULES: Record<string, () => Promise<Module>> = {
  latency: () => import('./scale/latency.ts'),
  idle: () => import('./scale/idle.ts'),
  growth: () => import('./throughput/growth.ts'),
  status: () => import('./scale/status.ts'),
  backfill: () => import('./throughput/backfill.ts'),
  'project-quota': () => import('./throughput/project-quota.ts'),
  outbox: () => import('./throughput/outbox.ts'),
  budget: () => import('./scale/budget.ts'),
  fairness: () => import('./scale/fairness.ts'),
  start: () => import('./scale/start.ts'),
}

const ROOT = join(import.meta.dirname, '../..')
const DOCS = join(ROOT, 'docs')
/** The report of each run stays here, a folder for each. */
const KEPT = join(ROOT, 'data/bench', new Date().toISOString().slice(0, 19).replaceAll(':', '-'))
const STOP_DEADLINE_MS = 15_000
const EXIT_OF = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

function refuse(message: string): never {
  process.stderr.write(`${message}\n`)
  process.exit(64)
}

const isSet = (name: string): boolean => !['', '0', undefined].includes(process.env[name])
const only = process.env.ONLY ?? ''
if (only !== '' && !(only in MODULES)) refuse(`ONLY: one of ${Object.keys(MODULES).join(', ')}`)
if (isSet('WRITE') && (only !== '' || isSet('QUICK')))
  refuse('WRITE: docs/ hold the last whole run in full, without QUICK and ONLY')

/** An instance of these lives as long as its stage, and so does its profile. */
const PROFILED = ['backfill', 'project-quota']
if (isSet('PROFILE') && !PROFILED.includes(only)) refuse(`PROFILE: with ONLY=${PROFILED.join(' or ONLY=')}`)

const dir = mkdtempSync(join(tmpdir(), 'mail-sync-bench-'))
// Whatever is put into a temporary folder goes with the run, however it ends.
process.env.TMPDIR = dir
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
const profiles = isSet('PROFILE') ? join(KEPT, 'profiles') : null
const options: BenchOptions = { quick: isSet('QUICK'), say: step, signal: stop.signal, profiles, dir }

/** What was measured is kept after each part: a later one may fail, or the run may be stopped. */
async function measureAll(machine: Machine): Promise<Report> {
  const figures: Figure[] = []
  const parts: Report['parts'][number][] = []
  const report: Report = { machine, quick: options.quick, parts, figures }
  for (const [name, load] of Object.entries(MODULES)) {
    if (only !== '' && only !== name) continue
    const [fromS, from] = [elapsedS(), processorTime()]
    let failed = false
    try {
      const found = await (await load()).measure(options)
      for (const figure of found) say(lineOf(figure))
      figures.push(...found)
    } catch (error) {
      stop.signal.throwIfAborted()
      failed = true
      process.stderr.write(`${name} could not be measured: ${error instanceof Error ? error.stack : String(error)}\n`)
    }
    const stolen = stolenShare(from, processorTime())
    step(`${name}: the host took ${shownNumber(stolen * 100)} % of the time of the processors`)
    parts.push({ name, seconds: elapsedS() - fromS, stolen, failed })
    keep(report)
  }
  return report
}

function keep(report: Report): void {
  mkdirSync(KEPT, { recursive: true })
  writeFileSync(join(KEPT, 'report.md'), `${tablesOf(report)}\n`)
  writeInto(KEPT, 'report.json', report)
}

function writeInto(folder: string, json: string, report: Report): void {
  writeFileSync(join(folder, json), jsonOf(report))
  for (const { file, svg } of picturesOf(report.figures)) writeFileSync(join(folder, file), svg)
}

const tablesOf = (report: Report): string =>
  [markdownOf(report), ...picturesOf(report.figures).map(({ file, title }) => `![${title}](${file})`)].join('\n\n')

function writeDocs(report: Report): void {
  const document = join(DOCS, 'performance.md')
  writeFileSync(document, withTables(readFileSync(document, 'utf8'), tablesOf(report)))
  writeInto(DOCS, 'bench.json', report)
}

try {
  refuseOtherSystems()
  const machine = await thisMachine(dir)
  const { disk } = machine
  say(`commit ${machine.commit} · node ${machine.node} · nats-server ${machine.server}`)
  say(
    `${machine.cores} cores (${machine.cpu}) for everything; ${disk.kind}, ${disk.freeGb} GB free; sync_interval as in nats.conf`,
  )
  const report = await measureAll(machine)
  say('')
  for (const figure of report.figures) say(lineOf(figure))
  say(`${summaryOf(report.figures)} (${elapsedS().toFixed(0)} s)`)
  say(`report: ${relative(process.cwd(), KEPT)}`)
  const failed = report.parts.filter((part) => part.failed).map(({ name }) => name)
  if (isSet('WRITE') && failed.length === 0) writeDocs(report)
  if (failed.length > 0) process.stderr.write(`not measured: ${failed.join(', ')}\n`)
  process.exitCode = failed.length > 0 ? 1 : 0
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  // Something that was waited for may still be under way.
  process.exit(stoppedBy === undefined ? 1 : EXIT_OF[stoppedBy])
}
