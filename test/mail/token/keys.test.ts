import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { keysFromCommand } from '../../../services/mail/token/key-sources.ts'
import { type KeyOptions, loadKeys, MAKE_KEY_COMMAND } from '../../../services/mail/token/keys.ts'
import { createSeal } from '../../../services/mail/token/seal.ts'
import { ExitError } from '../../../shared/lifecycle.ts'
import { createLog } from '../../../shared/log.ts'
import { Secret } from '../../../shared/secret.ts'

const log = createLog('test', 'silent')
const keyText = (kid: string): string => `${kid}:${randomBytes(32).toString('base64url')}`

type Place = { root: string; dataDir: string; load(options: Partial<KeyOptions>): ReturnType<typeof loadKeys> }

async function place(t: TestContext): Promise<Place> {
  const root = await mkdtemp(join(tmpdir(), 'mail-sync-keys-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const dataDir = join(root, 'data')
  return {
    root,
    dataDir,
    load: (options) => loadKeys({ production: false, dataDir, kidsInUse: [], ...options }, log),
  }
}

/** Refused with 78 and a message that fits, in which no key appears. */
const refused =
  (pattern: RegExp, ...hidden: string[]) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ExitError, String(error))
    assert.equal(error.exitCode, 78)
    assert.match(error.message, pattern)
    for (const text of hidden) assert.ok(!error.message.includes(text), 'the message shows a key')
    return true
  }

async function keyFile({ root }: Place, text: string, mode = 0o600): Promise<string> {
  const file = join(root, 'keys')
  await writeFile(file, text)
  await chmod(file, mode)
  return file
}

test('the first key seals and every key can be found by its kid', async (t) => {
  const { load } = await place(t)
  const keys = await load({ keys: new Secret(` ${keyText('new')}, ${keyText('old')}\n`) })
  assert.equal(keys.active().kid, 'new')
  assert.equal(keys.byKid('old')?.kid, 'old')
  assert.equal(keys.byKid('other'), null)
})

test('two sources at once are refused, whatever they hold', async (t) => {
  const at = await place(t)
  const keys = new Secret(keyText('k1'))
  const file = await keyFile(at, keyText('k1'))
  await assert.rejects(at.load({ keys, keyFile: file }), refused(/MAIL_TOKEN_KEYS and MAIL_TOKEN_KEY_FILE/))
  await assert.rejects(at.load({ keyFile: file, keyCommand: 'true' }), refused(/KEY_FILE and MAIL_TOKEN_KEY_COMMAND/))
  await assert.rejects(at.load({ keys, keyCommand: 'true' }), refused(/KEYS and MAIL_TOKEN_KEY_COMMAND/))
})

test('text that is no list of keys is refused without being repeated', async (t) => {
  const { load } = await place(t)
  const bare = randomBytes(32).toString('base64url')
  const twice = keyText('k1')
  const short = randomBytes(31).toString('base64url')
  const texts = [
    bare,
    `k 1:${bare}`,
    `k1:${short}`,
    `k1:${bare}=`,
    `k1:${bare}!`,
    `${twice},${twice}`,
    '',
    `k1:${bare},`,
  ]
  for (const text of texts)
    await assert.rejects(load({ keys: new Secret(text) }), refused(/MAIL_TOKEN_KEYS: entry \d/, bare, short))
})

test('a key file must be a regular file of this user that nobody else can read', async (t) => {
  const at = await place(t)
  const file = await keyFile(at, keyText('k1'))
  assert.equal((await at.load({ keyFile: file })).active().kid, 'k1')
  for (const mode of [0o640, 0o620, 0o604, 0o602, 0o611]) {
    await chmod(file, mode)
    await assert.rejects(at.load({ keyFile: file }), refused(/chmod 600/))
  }
  await chmod(file, 0o600)
  await symlink(file, join(at.root, 'link'))
  await assert.rejects(at.load({ keyFile: join(at.root, 'link') }), refused(/not a regular file/))
  await assert.rejects(at.load({ keyFile: at.root }), refused(/not a regular file/))
  await assert.rejects(at.load({ keyFile: join(at.root, 'absent') }), refused(/ENOENT/))
  await promisify(execFile)('mkfifo', ['-m', '600', join(at.root, 'pipe')])
  await assert.rejects(at.load({ keyFile: join(at.root, 'pipe') }), refused(/not a regular file/))
})

test('a key file of another user is refused', async (t) => {
  const at = await place(t)
  const root = process.geteuid?.() === 0
  // Only root can give a file away; everybody else finds one of root's.
  const file = root ? await keyFile(at, keyText('k1')) : '/etc/passwd'
  if (root) await promisify(execFile)('chown', ['65534', file])
  await assert.rejects(at.load({ keyFile: file }), refused(/another user/))
})

test('a key command runs without a shell and what it prints are the keys', async (t) => {
  const at = await place(t)
  const file = await keyFile(at, keyText('k1'))
  assert.equal((await at.load({ keyCommand: `cat ${file}` })).active().kid, 'k1')
  assert.equal((await at.load({ keyCommand: JSON.stringify(['cat', file]) })).active().kid, 'k1')
  const victim = join(at.root, 'victim')
  for (const command of [`cat ${file}; touch ${victim}`, `cat $(touch ${victim})`, `cat ${file} > ${victim}`])
    await assert.rejects(at.load({ keyCommand: command }), refused(/without a shell/))
  await assert.rejects(at.load({ keyCommand: JSON.stringify(['cat', `${file}; touch ${victim}`]) }), refused(/exit 1/))
  assert.deepEqual((await readdir(at.root)).sort(), ['keys'])
})

test('a key command that fails is refused without showing what it wrote', async (t) => {
  const { load, root } = await place(t)
  await assert.rejects(load({ keyCommand: join(root, 'absent') }), refused(/ENOENT/))
  const script = ['sh', '-c', 'echo canary; echo canary >&2; exit 3']
  await assert.rejects(load({ keyCommand: JSON.stringify(script) }), refused(/exit 3/, 'canary'))
  await assert.rejects(load({ keyCommand: 'echo canary' }), refused(/entry 1/, 'canary'))
  await assert.rejects(load({ keyCommand: '[1]' }), refused(/JSON array/))
  const reason = new Error('stopped')
  const stop = new AbortController()
  const waiting = load({ keyCommand: 'sleep 60', signal: stop.signal })
  stop.abort(reason)
  await assert.rejects(waiting, reason)
})

test('a key command that does not end is killed at its deadline, also when what it has started holds on', async () => {
  for (const script of ['exec sleep 60', 'sleep 60 & wait'])
    await assert.rejects(
      keysFromCommand(JSON.stringify(['sh', '-c', script]), undefined, 50),
      refused(/no end within 50 ms/),
    )
})

test('a key command that prints without end is cut off', async (t) => {
  const { load } = await place(t)
  for (const script of ['yes canary', 'yes canary >&2', 'head -c 70000 /dev/zero'])
    await assert.rejects(load({ keyCommand: JSON.stringify(['sh', '-c', script]) }), refused(/MAXBUFFER/, 'canary'))
})

test('production without a key is refused with a command that makes one', async (t) => {
  const at = await place(t)
  await assert.rejects(at.load({ production: true }), (error: unknown) => {
    assert.ok(error instanceof ExitError && error.message.includes(MAKE_KEY_COMMAND))
    return refused(/NODE_ENV=production/)(error)
  })
  assert.deepEqual(await readdir(at.root), [])
  const { stdout } = await promisify(execFile)('sh', ['-c', MAKE_KEY_COMMAND])
  assert.match((await at.load({ production: true, keys: new Secret(stdout) })).active().kid, /^k\d+$/)
})

test('a development machine gets one key beside the data folder, closed to others, and keeps it', async (t) => {
  const at = await place(t)
  const first = await at.load({})
  const dir = join(at.root, '.mail-sync')
  assert.equal((await stat(dir)).mode & 0o777, 0o700)
  assert.equal((await stat(join(dir, 'token.key'))).mode & 0o777, 0o600)
  assert.deepEqual(await readdir(dir), ['token.key'])
  assert.equal((await at.load({ kidsInUse: [first.active().kid] })).active().kid, first.active().kid)
  await chmod(dir, 0o755)
  await assert.rejects(at.load({}), refused(/chmod 700/))
  await chmod(dir, 0o700)
  await chmod(join(dir, 'token.key'), 0o644)
  await assert.rejects(at.load({}), refused(/chmod 600/))
})

test('the key never lies inside the data folder, not even through a link', async (t) => {
  const at = await place(t)
  await mkdir(join(at.dataDir, 'hidden'), { recursive: true, mode: 0o700 })
  await mkdir(join(at.dataDir, 'below'))
  await symlink(at.dataDir, join(at.dataDir, 'below', 'data'))
  await assert.rejects(at.load({ dataDir: join(at.dataDir, 'below', 'data') }), refused(/inside MAIL_DATA_DIR/))
  await symlink(join(at.dataDir, 'hidden'), join(at.root, '.mail-sync'))
  await assert.rejects(at.load({}), refused(/not a link/))
  assert.deepEqual(await readdir(join(at.dataDir, 'hidden')), [])
})

test('no key is made while stored tokens need one that is not here', async (t) => {
  const at = await place(t)
  await assert.rejects(at.load({ kidsInUse: ['lost'] }), refused(/new key would lose/))
  assert.deepEqual(await readdir(at.root), [])
  await at.load({})
  await assert.rejects(at.load({ kidsInUse: ['lost'] }), refused(/sealed with lost/))
  const text = keyText('k1')
  const stored = await keyFile(at, text)
  for (const source of [{ keys: new Secret(text) }, { keyFile: stored }, { keyCommand: `cat ${stored}` }])
    for (const production of [true, false])
      await assert.rejects(
        at.load({ ...source, production, kidsInUse: ['k1', 'lost'] }),
        refused(/sealed with lost, .*mailctl rekey/),
      )
})

test('several processes that start at once end with the same key', async (t) => {
  const at = await place(t)
  const racer = join(import.meta.dirname, 'key-racer.ts')
  const racers = [1, 2, 3].map(() =>
    spawn(process.execPath, [racer, at.dataDir], { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  t.after(() => racers.map((child) => child.kill('SIGKILL')))
  const lines = racers.map((child) => createInterface({ input: child.stdout })[Symbol.asyncIterator]())
  for (const line of lines) assert.equal((await line.next()).value, 'ready')
  const exits = racers.map((child) => once(child, 'exit'))
  for (const child of racers) child.stdin.write('go\n')
  const seal = createSeal(await at.load({}))
  const binding = { userId: 'u', provider: 'google', inboxId: 'primary', field: 'credential' } as const
  for (const line of lines)
    assert.equal((await seal.open(String((await line.next()).value), binding)).reveal(), 'hello')
  for (const exit of exits) assert.deepEqual((await exit)[0], 0)
  assert.deepEqual(await readdir(join(at.root, '.mail-sync')), ['token.key'])
  assert.match(await readFile(join(at.root, '.mail-sync', 'token.key'), 'utf8'), /^local-[0-9a-f]{8}:[\w-]{43}\n$/)
})
