/** What is loaded before the endpoints answer (ADR 0037), and a part of the installation that is missing. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { requestOperation } from '#shared/control-client.ts'
import { MACHINE, spawnInstance } from '../../support/instance.ts'
import { sandbox } from '../../support/sandbox.ts'

const PROGRAM = new URL('./loaded-modules.ts', import.meta.url).pathname
const MAIN = new URL('../../../services/mail/main.js', import.meta.url).pathname
const DEADLINE_MS = 30_000
const run = promisify(execFile)

/** What no request needs: each of them takes a start 10 to 130 ms. */
const LATE = [
  /\/node_modules\/(?:drizzle-orm|undici|jose|prom-client|@opentelemetry|googleapis|@microsoft|postal-mime|entities)\//,
  /\/services\/mail\/(?:provider|sync|inspect|owner\/(?!lease-times\.ts)|app\/engine\.ts)/,
  // Read as an import, one of its getters loads the platform's own undici.
  /^import node:http$/,
]
const lateOf = (loaded: readonly string[]): string[] =>
  loaded.filter((module) => LATE.some((pattern) => pattern.test(module)))

async function loadedModules(env: NodeJS.ProcessEnv, also = '', thread = ''): Promise<string[]> {
  const options = {
    env: { ...MACHINE, ...env, ALSO: also, THREAD: thread },
    timeout: DEADLINE_MS,
    maxBuffer: 10_000_000,
  }
  const { stdout } = await run(process.execPath, [PROGRAM], options)
  const loaded: unknown = JSON.parse(stdout)
  assert.ok(Array.isArray(loaded))
  return loaded.map(String)
}

test('when the endpoints answer, nothing is loaded that only the work of users needs', async () => {
  await using box = await sandbox()
  // The first start makes auth.db, which takes drizzle.
  assert.notDeepEqual(lateOf(await loadedModules(box.env('a'))), [])
  const loaded = await loadedModules(box.env('a'))
  assert.deepEqual(lateOf(loaded), [])
  assert.ok(loaded.some((module) => module.endsWith('/services/mail/control/connect.ts')))
  const ofThread = await loadedModules(box.env('a'), '', '1')
  assert.deepEqual(lateOf(ofThread), [])
  assert.ok(ofThread.some((module) => module.endsWith('/services/mail/control/service.ts')))
  for (const other of ['kv/accounts.ts', 'store/auth-store.ts', 'outbox/stream.ts'])
    assert.ok(!ofThread.some((module) => module.endsWith(`/services/mail/${other}`)), other)
})

test('control arm: a library that is loaded earlier is reported', async () => {
  await using box = await sandbox()
  await loadedModules(box.env('a'))
  for (const also of ['undici', 'drizzle-orm/sqlite-core', 'jose', 'node:http', '../../../services/mail/sync/plan.ts'])
    assert.notDeepEqual(lateOf(await loadedModules(box.env('a'), also)), [], also)
})

async function startWithout(name: string, env: NodeJS.ProcessEnv): Promise<unknown> {
  const hide = `import { registerHooks } from 'node:module'
    registerHooks({ resolve(specifier, context, next) {
      if (specifier === '${name}') throw new Error('Cannot find package ${name}')
      return next(specifier, context)
    } })`
  const hidden = ['--import', `data:text/javascript,${encodeURIComponent(hide)}`, MAIN]
  return await run(process.execPath, hidden, { env: { ...MACHINE, ...env }, timeout: DEADLINE_MS })
}

test('an instance without a package that it loads late ends with code 1, and says which it is', async () => {
  await using box = await sandbox()
  const stderr = /cannot be loaded: Cannot find package undici.*npm ci/
  await assert.rejects(startWithout('undici', box.env('a')), { code: 1, stderr })
})

test('an instance whose thread for requests cannot begin ends with code 1', async () => {
  await using box = await sandbox()
  await assert.rejects(startWithout('@nats-io/services', box.env('a')), { code: 1 })
})

test('what is asked at once is answered: of nobody, of a user without an owner, and of the engine', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  const starting = spawnInstance(box.env('a'))
  const first = async (): Promise<unknown> => {
    for (const endMs = performance.now() + DEADLINE_MS; ; ) {
      try {
        return await requestOperation(nc, 'status', { asUser: 'u1', body: {}, requestId: 'test' })
      } catch (error) {
        if (performance.now() > endMs) throw error
      }
    }
  }
  assert.deepEqual(await first(), { user_id: 'u1', running_syncs: [], accounts: [] })
  // It waits for what is still being loaded.
  await box.connect(nc, 'u1', 'google', { n: 1 }, 'primary', { patient: false })
  await using _instance = await starting
  await box.allLive(nc, ['u1'])
})
