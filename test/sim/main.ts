/**
 * `make sim`: plays SEEDS seeds, beginning with FROM, on all cores; stops at the first that fails, and says how to play it
 * again and the least that it needs. SEED plays one. MUTANT switches a protection off: then a seed must fail.
 */
import { fork } from 'node:child_process'
import { cpus } from 'node:os'
import { Gone } from './life.ts'
import { isMutant, MUTANTS, type Mutant } from './mutants.ts'
import { play } from './play.ts'
import { plotOf } from './plot.ts'
import { shrink } from './shrink.ts'

const CHUNK = 100
const CHUNKS_OF_A_WORKER = 10
const TOLD_EVERY = 5_000
type Chunk = { from: number; count: number }
type Report = {
  seed: number | null
  played: number
  events: number
  batched: number
  crashes: number
  disks: number
  taken: number
}

function whole(name: string, fallback: number): number {
  const value = Number(process.env[name] || fallback)
  if (Number.isSafeInteger(value) && value > 0) return value
  process.stderr.write(`${name}: a whole number above 0\n`)
  process.exit(64)
}
function mutantOf(name: string | undefined): Mutant | null {
  if (!name) return null
  if (isMutant(name)) return name
  process.stderr.write(`MUTANT: one of ${MUTANTS.join(', ')}\n`)
  process.exit(64)
}
const mutant = mutantOf(process.env.MUTANT)

/** Plays a chunk; the report names the first seed that fails. */
async function playChunk({ from, count }: Chunk): Promise<Report> {
  const report: Report = { seed: null, played: 0, events: 0, batched: 0, crashes: 0, disks: 0, taken: 0 }
  for (let seed = from; seed < from + count; seed++) {
    const { faults, tally } = await play(seed, plotOf(seed), mutant)
    report.played += 1
    for (const key of ['events', 'batched', 'crashes', 'disks', 'taken'] as const) report[key] += tally[key]
    if (faults.length === 0) continue
    report.seed = seed
    break
  }
  return report
}

async function explain(seed: number): Promise<void> {
  const say = (text: string): void => void process.stdout.write(`${text}\n`)
  const { faults } = await play(seed, plotOf(seed), mutant)
  for (const fault of faults.slice(0, 10)) say(`seed ${seed}: ${fault}`)
  if (faults.length === 0) return
  const least = await shrink(seed, plotOf(seed), mutant)
  say('the least that it needs:')
  say(
    `  processes ${least.processes.join(' ')} · ${least.users.map(({ user, mails }) => `${user} ${mails} mails`).join(' · ')}`,
  )
  for (const { atMs, ...deed } of least.acts) say(`  ${String(atMs).padStart(6)} ms  ${JSON.stringify(deed)}`)
  for (const fault of (await play(seed, least, mutant)).faults.slice(0, 3)) say(`  ${fault}`)
  say(`again: make sim SEED=${seed}${mutant === null ? '' : ` MUTANT=${mutant}`}`)
}

/** All seeds, on all cores, until one fails. */
async function playAll(from: number, seeds: number): Promise<Report> {
  const sum: Report = { seed: null, played: 0, events: 0, batched: 0, crashes: 0, disks: 0, taken: 0 }
  let next = from
  const take = (): Chunk | null => {
    const count = Math.min(CHUNK, from + seeds - next)
    if (count <= 0 || sum.seed !== null) return null
    next += count
    return { from: next - count, count }
  }
  const add = (report: Report): void => {
    const before = sum.played
    for (const key of ['played', 'events', 'batched', 'crashes', 'disks', 'taken'] as const) sum[key] += report[key]
    if (report.seed !== null) sum.seed = Math.min(sum.seed ?? Number.POSITIVE_INFINITY, report.seed)
    if (Math.floor(sum.played / TOLD_EVERY) > Math.floor(before / TOLD_EVERY) && sum.played < seeds)
      process.stderr.write(`${sum.played} of ${seeds} seeds\n`)
  }
  await Promise.all(
    cpus().map(async () => {
      for (let chunk = take(); chunk !== null; chunk = take()) await playIn(chunk, take, add)
    }),
  )
  return sum
}

/** A process for some chunks. Not for all: what dies in a run never takes its signals back, and stays in memory. */
function playIn(first: Chunk, take: () => Chunk | null, add: (report: Report) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = fork(import.meta.filename, { env: { ...process.env, SIM_WORKER: '1' } })
    let chunks = 1
    worker.on('message', (report: Report) => {
      add(report)
      const chunk = chunks++ < CHUNKS_OF_A_WORKER ? take() : null
      if (chunk === null) worker.disconnect()
      else worker.send(chunk)
    })
    worker.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))))
    worker.send(first)
  })
}

// What a process leaves behind that died in the middle of a transaction.
process.on('unhandledRejection', (reason) => {
  if (!(reason instanceof Gone)) throw reason
})

async function main(): Promise<void> {
  const started = performance.now()
  const only = process.env.SEED ? whole('SEED', 1) : null
  const sum =
    only === null ? await playAll(whole('FROM', 1), whole('SEEDS', 1_000)) : await playChunk({ from: only, count: 1 })
  if (sum.seed !== null) await explain(sum.seed)
  const took = ((performance.now() - started) / 1_000).toFixed(0)
  const { played, events, batched, crashes, disks, taken } = sum
  const off = mutant === null ? '' : ` · without ${mutant}`
  process.stdout.write(
    `sim: ${played} seeds · ${events} events (${batched} in batches) · ${crashes} crashes (${disks} disks) · ${taken} events taken back · ${sum.seed === null ? '0 bad' : `seed ${sum.seed} is bad`}${off} · ${took} s\n`,
  )
  process.exitCode = sum.seed === null ? 0 : 1
}

if (process.env.SIM_WORKER === '1')
  process.on('message', (chunk: Chunk) => void playChunk(chunk).then((report) => process.send?.(report)))
else await main()
