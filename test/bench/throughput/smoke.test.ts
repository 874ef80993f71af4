/** The smallest benchmark there is, with the real parts; and that one which is stopped leaves no process behind. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { until } from '../../support/until.ts'
import { measure } from './backfill.ts'
import { measure as measureOutbox } from './outbox.ts'

const MAIN = join(import.meta.dirname, '../main.ts')
const DATA = join(import.meta.dirname, '../../../data')

test('service and pipelines are compared over one small mailbox, and the profile tells where the time goes', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-bench-'))
  const profiles = mkdtempSync(join(tmpdir(), 'mail-sync-bench-'))
  t.after(() => {
    for (const folder of [dir, profiles]) rmSync(folder, { recursive: true, force: true })
  })
  const said: string[] = []
  const options = { quick: true, say: (text: string) => void said.push(text), signal: t.signal, profiles, dir }
  const size = { rounds: 1, mails: 150, naive: 20, warmUp: 20, providers: ['google'] } as const
  const figures = await measure(options, size)
  const names = figures.map(({ name }) => name)
  assert.deepEqual(names.slice(0, 5), [
    'Gmail backfill: rate against the short pipeline',
    'Gmail backfill: CPU per mail against the short pipeline',
    'Gmail backfill: rate against the naive pipeline',
    'Gmail backfill: A/A of the rate',
    'Gmail backfill: A/A of the CPU',
  ])
  // How fast it was is no business of a test; that something was measured is.
  for (const { name, value, unit } of figures) if (unit === 'times' && !/CPU/.test(name)) assert.ok(value > 0, name)
  assert.deepEqual(readdirSync(dir), [], 'a stage leaves nothing in its folder')
  assert.match(said.join('\n'), /^ *\d+\.\d % {2}provider\/mime$/m)
  assert.match(readdirSync(profiles).join(' '), /^\d+\.cpuprofile$/)
})

test('an outbox that was left full is drained by the next instance', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-bench-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const say = (text: string): void => t.diagnostic(text)
  const options = { quick: true, say, signal: t.signal, profiles: null, dir }
  const figures = await measureOutbox(options, { rounds: 1, rows: 300 })
  for (const { name, value } of figures) assert.ok(value > 0, name)
})

/** Processes of a process group. */
const groupOf = (leader: number): string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
        const [state, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return Number(group) === leader && state !== 'Z'
      } catch (error) {
        // It has ended between the two looks.
        if (error instanceof Error && 'code' in error) return false
        throw error
      }
    })

/** In the project's own folder, because others may be memory, which the benchmark refuses. */
function emptyFolder(): string {
  mkdirSync(DATA, { recursive: true })
  return mkdtempSync(join(DATA, 'bench-test-'))
}

test('a part of a run, or a short one, does not replace the whole one in the documents', () => {
  for (const more of [{ QUICK: '1' }, { ONLY: 'start' }]) {
    const env = { ...process.env, QUICK: '', ONLY: '', PROFILE: '', WRITE: '1', ...more }
    const { status, stderr } = spawnSync(process.execPath, [MAIN], { env, encoding: 'utf8' })
    assert.equal(status, 64)
    assert.match(stderr, /^WRITE: /)
  }
})

test('a profile is refused for parts whose instances end in between', () => {
  const env = { ...process.env, QUICK: '', ONLY: 'growth', PROFILE: '1', WRITE: '' }
  const { status, stderr } = spawnSync(process.execPath, [MAIN], { env, encoding: 'utf8' })
  assert.deepEqual([status, stderr], [64, 'PROFILE: with ONLY=backfill or ONLY=project-quota\n'])
})

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`a benchmark that is ended by ${signal} ends its processes and leaves no file`, async (t) => {
    // A group of its own, in which all that it starts can be found.
    const tmp = emptyFolder()
    t.after(() => rmSync(tmp, { recursive: true, force: true }))
    const env = { ...process.env, QUICK: '1', ONLY: 'backfill', PROFILE: '', WRITE: '', TMPDIR: tmp }
    const bench = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
    const leader = bench.pid ?? 0
    t.after(() => bench.kill('SIGKILL'))
    const exited = once(bench, 'exit')
    createInterface({ input: bench.stdout }).on('line', (line) => t.diagnostic(line))
    // Itself, nats-server, the provider, the instance and a pipeline.
    await until('a stage stands', () => groupOf(leader).length >= 5, { everyMs: 50 })
    bench.kill(signal)
    const [code] = await exited
    assert.equal(code, signal === 'SIGINT' ? 130 : 143)
    await until('its processes are gone', () => groupOf(leader).length === 0)
    assert.deepEqual(readdirSync(tmp), [])
  })
