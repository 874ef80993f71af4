/** The smallest benchmark there is, with the real parts; and that one which is stopped leaves no process behind. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { until } from '../../support/until.ts'
import { measure } from './backfill.ts'

const MAIN = join(import.meta.dirname, '../main.ts')

test('service and pipelines are compared over one small mailbox', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-bench-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const options = { quick: true, say: (text: string) => t.diagnostic(text), signal: t.signal, dir }
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

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`a benchmark that is ended by ${signal} ends its processes`, async (t) => {
    // A group of its own, in which all that it starts can be found.
    const env = { ...process.env, QUICK: '1', ONLY: 'backfill', WRITE: '' }
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
    assert.deepEqual(groupOf(leader), [])
  })
