/**
 * `make bench-fleet`: what happens to many users when an instance is killed, stopped or joins, with the target of each
 * figure beside it. USERS, INSTANCES and INTERVAL in the environment. Exit 0 when every target is met, 1 when one is
 * missed or the run fails.
 */
import { cpus } from 'node:os'
import { type Figure, lineOf, seconds, verdictOf } from './figures.ts'
import { Fleet, SILENCE_MS } from './fleet.ts'
import { balanced, idleFigure, idleWrites, joined, killed, ledgerFigures, polled, terminated } from './story.ts'

const FEW_USERS = 300

function whole(name: string, fallback: number, min: number): number {
  const value = Number(process.env[name] || fallback)
  if (Number.isInteger(value) && value >= min) return value
  process.stderr.write(`${name}: a whole number, ${min} or more\n`)
  process.exit(64)
}

const users = whole('USERS', 3_000, 30)
const count = whole('INSTANCES', 3, 2)
const syncS = whole('INTERVAL', 60, 1)
const names = Array.from({ length: count }, (_, i) => `mail-${i}`)
const say = (text: string): void => void process.stdout.write(`${text}\n`)
const started = performance.now()
const step = (text: string): void => say(`${seconds(performance.now() - started).padStart(9)}  ${text}`)

const figures: Figure[] = []
const report = (...found: Figure[]): void => {
  figures.push(...found)
  for (const figure of found) say(lineOf(figure))
}

async function run(): Promise<void> {
  await using fleet = await Fleet.start(names, { syncMs: syncS * 1_000 })
  say(
    `machine: ${cpus().length} cores (${cpus()[0]?.model.trim()}) · node ${process.versions.node} · nats-server ${fleet.ops.info?.version}`,
  )
  say(
    `fleet: ${count} instances · ${users} users, one mailbox of 1 to 3 mails each · a poll every ${syncS} s · silence ${seconds(SILENCE_MS)} · sync_interval always`,
  )
  say('instances, nats-server, simulator and this program share the cores')
  const few = Math.min(FEW_USERS, Math.ceil(users / 10))
  await fleet.connectUpTo(few)
  step(`${few} users are connected`)
  const fewWrites = await idleWrites(fleet)
  await fleet.connectUpTo(users)
  await balanced(fleet)
  await polled(fleet, fleet.users)
  step(`${users} users are connected`)
  report(idleFigure(fewWrites, few, await idleWrites(fleet), users))
  step('kill -9')
  report(...(await killed(fleet, names.at(-1) ?? '')))
  step('SIGTERM')
  report(...(await terminated(fleet, names.at(0) ?? '')))
  step('one more joins')
  report(...(await joined(fleet, `mail-${count}`)))
  step('a new mail for everybody')
  report(...(await ledgerFigures(fleet, syncS * 1_000 + 30_000)))
}

try {
  await run()
  const { line, met } = verdictOf(figures)
  say(line)
  process.exitCode = met ? 0 : 1
} catch (error) {
  process.stderr.write(`the benchmark failed: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
