/** The life of a process, by real processes: the first signal stops in order, the second at once. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { until } from '../support/until.ts'

/** Runs an app that says when it runs, and ends as it is told to or never. */
function start(whenStopped: 'ends' | 'hangs' | 'leaks') {
  const app = `
    import { run, aborted } from '#shared/lifecycle.ts'
    import { createLog } from '#shared/log.ts'
    await run(createLog('test', 'info'), async (signal) => {
      const alive = setInterval(() => undefined, 1000)
      process.stdout.write('runs\\n')
      await aborted(signal)
      if (${whenStopped === 'hangs'}) await new Promise(() => undefined)
      if (${whenStopped !== 'leaks'}) clearInterval(alive)
    })`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', app], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  return {
    child,
    says: (text: string): Promise<unknown> => until(`it says "${text}"`, () => said.includes(text)),
    exited: once(child, 'exit').then(([code, signal]) => ({ code, signal })),
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  }
}

test('whatever it makes is closed to others, also what a library makes without a mode', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-umask-'))
  t.after(() => rm(dir, { recursive: true }))
  const app = `
    import { mkdirSync, writeFileSync } from 'node:fs'
    import { run } from '#shared/lifecycle.ts'
    import { createLog } from '#shared/log.ts'
    process.umask(0)
    await run(createLog('test', 'silent'), async () => {
      writeFileSync('file', '')
      mkdirSync('folder')
    })`
  const folder = pathToFileURL(`${process.cwd()}/`).href
  const child = spawn(
    process.execPath,
    ['--input-type=module', '--eval', app.replaceAll('#shared/', `${folder}shared/`)],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      cwd: dir,
    },
  )
  assert.deepEqual(await once(child, 'exit'), [0, null])
  assert.deepEqual(
    ['file', 'folder'].map((name) => statSync(join(dir, name)).mode & 0o777),
    [0o600, 0o700],
  )
})

test('one signal stops it in order, with exit 0', async () => {
  await Promise.all(
    (['SIGTERM', 'SIGINT'] as const).map(async (signal) => {
      using app = start('ends')
      await app.says('runs')
      app.child.kill(signal)
      assert.deepEqual(await app.exited, { code: 0, signal: null })
    }),
  )
})

test('what a library left open does not keep it alive', async () => {
  using app = start('leaks')
  await app.says('runs')
  app.child.kill('SIGTERM')
  assert.deepEqual(await app.exited, { code: 0, signal: null })
})

test('a second signal ends it at once, with the exit code of that signal', async () => {
  const cases = [
    ['SIGTERM', 'SIGTERM', 143],
    ['SIGINT', 'SIGINT', 130],
    ['SIGTERM', 'SIGINT', 130],
  ] as const
  await Promise.all(
    cases.map(async ([first, second, code]) => {
      using app = start('hangs')
      await app.says('runs')
      app.child.kill(first)
      await app.says('a second signal exits at once')
      app.child.kill(second)
      assert.deepEqual(await app.exited, { code, signal: null })
    }),
  )
})
