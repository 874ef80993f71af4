/** What a start has compiled is accepted by the next one, although V8 gets another flag in between (ADR 0052). */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { MACHINE } from '../../support/instance.ts'
import { killWithUs } from '../../support/kill-with-us.ts'
import { sandbox } from '../../support/sandbox.ts'

const MAIN = new URL('../../../services/mail/main.js', import.meta.url).pathname
const DEADLINE_MS = 30_000
/** Sets the flag once the first files are loaded. */
const EARLY_FLAG = `import { setFlagsFromString } from 'node:v8'
  setTimeout(() => setFlagsFromString('--no-allocation-site-pretenuring'), 1)`

type Compiled = { accepted: number; refused: number }

/** Starts an instance and ends it as soon as it runs. @returns what became of the code that was in the cache */
async function start(env: NodeJS.ProcessEnv, preload = ''): Promise<Compiled> {
  const program = ['--import', `data:text/javascript,${encodeURIComponent(preload)}`, MAIN]
  const { promise: ended, resolve } = Promise.withResolvers<string>()
  const options = { env: { ...MACHINE, ...env }, timeout: DEADLINE_MS, maxBuffer: 50_000_000 }
  const child = execFile(process.execPath, program, options, (error, out, err) =>
    resolve(`${String(error?.message ?? '')}${out}${err}`),
  )
  killWithUs(child)
  child.stdout?.on('data', (text) => String(text).includes('"mail-sync runs"') && child.kill('SIGTERM'))
  const said = await ended
  assert.ok(said.includes('"mail-sync runs"'), said.slice(-1_000))
  const count = (pattern: RegExp): number => said.match(pattern)?.length ?? 0
  return { accepted: count(/ was accepted/g), refused: count(/ was rejected/g) }
}

test('what a start has compiled is accepted by the next one', async () => {
  await using box = await sandbox()
  const env = { ...box.env('a'), NODE_COMPILE_CACHE: join(box.dir, 'cache'), NODE_DEBUG_NATIVE: 'COMPILE_CACHE' }
  await start(env)
  const { accepted, refused } = await start(env)
  assert.ok(accepted > 300, `${accepted} accepted`)
  assert.equal(refused, 0)
})

test('control: of what is compiled after the flag was set, the next start accepts nothing', async () => {
  await using box = await sandbox()
  const env = { ...box.env('a'), NODE_COMPILE_CACHE: join(box.dir, 'cache'), NODE_DEBUG_NATIVE: 'COMPILE_CACHE' }
  await start(env, EARLY_FLAG)
  const { refused } = await start(env)
  assert.ok(refused > 50, `${refused} refused`)
})
