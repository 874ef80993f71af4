/**
 * `make demo`: the whole system on this machine, against a simulated Gmail and Outlook. ONCE=1, or no terminal: plain
 * lines, and the end after the ledger. INSTANCES=3: several of them; one is lost with its disk. Exit 0 when the ledger is clean, 1 when it is not or when a part fails.
 * It owns the directory, the signals and the exit code; what happens stands in story.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PartError } from './part.ts'
import { runDemo } from './story.ts'
import { liveView, plainView } from './view.ts'

const MAILS = 2_500
const INSTANCES_MAX = 8
/** Stopping takes longer than any part may: what is left then is killed. */
const STOP_DEADLINE_MS = 12_000
const EXIT_OF = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

const { ONCE, INSTANCES, DEMO_N, TERM } = process.env
/** Mails in each mailbox; a test asks for fewer. */
const n = Number(DEMO_N ?? MAILS)
if (!Number.isInteger(n) || n < 50) {
  process.stderr.write('DEMO_N: a whole number, 50 or more\n')
  process.exit(64)
}
const instances = Number(INSTANCES || 1)
if (!Number.isInteger(instances) || instances < 1 || instances > INSTANCES_MAX) {
  process.stderr.write(`INSTANCES: a whole number from 1 to ${INSTANCES_MAX}\n`)
  process.exit(64)
}
const stay = process.stdout.isTTY === true && (ONCE ?? '') in { '': 1, '0': 1 }
const view = stay && TERM !== 'dumb' ? liveView(process.stdout) : plainView((text) => process.stdout.write(text))

const dir = mkdtempSync(join(tmpdir(), 'mail-sync-demo-'))
// The last resort; the way out of runDemo leaves nothing to do here but an empty directory.
process.on('exit', () => {
  view.close()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
})

const stop = new AbortController()
let stoppedBy: keyof typeof EXIT_OF | undefined
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(name, () => {
    if (stoppedBy !== undefined) process.exit(EXIT_OF[name])
    stoppedBy = name
    stop.abort(new Error(`stopped by ${name}`))
    setTimeout(() => process.exit(EXIT_OF[name]), STOP_DEADLINE_MS).unref()
  })
// Nobody reads any more: `make demo | head`.
process.stdout.on('error', () => stop.abort(new Error('nobody reads')))

try {
  const isClean = await runDemo(dir, { n, instances, stay }, view, stop.signal)
  process.exitCode = isClean ? 0 : 1
  if (stay) process.stderr.write('\nstopped; nothing is left behind\n')
} catch (error) {
  // At a terminal Ctrl-C is how the demo ends; make would call any other code an error.
  process.exitCode = stoppedBy === undefined ? 1 : stay && stoppedBy === 'SIGINT' ? 0 : EXIT_OF[stoppedBy]
  if (stop.signal.aborted) process.stderr.write(`${stay ? '\n' : ''}stopped; nothing is left behind\n`)
  else {
    view.close()
    process.stderr.write(`the demo failed: ${error instanceof Error ? error.message : String(error)}\n`)
    if (error instanceof PartError) process.stderr.write(`last lines (${error.part.name}):\n${error.part.tail()}\n`)
  }
}
