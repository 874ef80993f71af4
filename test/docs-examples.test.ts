/**
 * The TypeScript examples of the documents: taken out, checked by the compiler, and run against a running system. The Better
 * Auth example meets a real Better Auth, whose Google is a stand-in that hands out the simulator's tokens.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { type BetterAuthOptions, betterAuth } from 'better-auth'
import { memoryAdapter } from 'better-auth/adapters/memory'
import { toNodeHandler } from 'better-auth/node'
import { genericOAuth, jwt } from 'better-auth/plugins'
import type { NatsConnection } from '#shared/nats.ts'
import { statsOfInstances } from '#shared/service-view.ts'
import { allDocs, blocksOf } from './support/docs.ts'
import { DocsWorld } from './support/docs-world.ts'
import { until } from './support/until.ts'

const ROOT = join(import.meta.dirname, '..')
const SCOPE = 'https://www.googleapis.com/auth/gmail.readonly'
const run = promisify(execFile)

let world: DocsWorld
let folder: string
const passwords = (): Record<string, string> => ({
  NATS_SERVICE_PASSWORD: world.box.nats.passwords.service,
  NATS_CONSUMER_PASSWORD: world.box.nats.passwords.consumer,
  NATS_OPS_PASSWORD: world.box.nats.passwords.ops,
  NATS_PASSWORD: world.box.nats.passwords.service,
})

before(async () => {
  world = await DocsWorld.open()
  folder = takeOut(join(world.box.dir, 'examples'))
  await world.box.start('docs')
})
after(() => world[Symbol.asyncDispose]())

/** Writes every example into the folder under its name; packages are those of the project. */
function takeOut(to: string): string {
  mkdirSync(to)
  symlinkSync(join(ROOT, 'node_modules'), join(to, 'node_modules'))
  writeFileSync(join(to, 'package.json'), '{"type":"module"}')
  writeFileSync(join(to, 'tsconfig.json'), JSON.stringify({ extends: join(ROOT, 'tsconfig.json'), include: ['*.ts'] }))
  for (const { doc, language, file, text } of allDocs().flatMap(blocksOf)) {
    if (!['ts', 'js', 'tsx', 'typescript', 'javascript'].includes(language)) continue
    assert.ok(file?.endsWith('.ts'), `${doc}: an example without a name is not checked`)
    if (file !== undefined) writeFileSync(join(to, file), text, { flag: 'wx' })
  }
  return to
}

const node = (file: string, env: Record<string, string>) =>
  run(process.execPath, [join(folder, file)], { env: { ...world.env(), ...passwords(), ...env }, timeout: 20_000 })

describe('the examples of the documents', () => {
  test('the compiler accepts them with the settings of the project, and refuses a wrong one', async () => {
    const tsc = join(ROOT, 'node_modules/.bin/tsc')
    const check = () =>
      run(tsc, ['-p', folder], { env: world.env() }).catch(({ stdout }) => ({ stdout: String(stdout) }))
    assert.equal((await check()).stdout, '')
    writeFileSync(join(folder, 'wrong.ts'), "import { connect } from 'nats'\nconnect({ sever: 'x' })\n")
    assert.match((await check()).stdout, /wrong\.ts.*sever/)
    writeFileSync(join(folder, 'wrong.ts'), '')
  })

  test('both clients show the status of the user whose JWT they have, and the error of the one without', async () => {
    const { env } = await world.reader()
    for (const file of ['connect.ts', 'status.ts']) {
      const { stdout } = await node(file, { JWT: env.JWT ?? '' })
      assert.match(stdout, /user_id: '\w+',\s+running_syncs: \[\],\s+accounts: \[\]/, file)
    }
    const refused = await node('status.ts', { JWT: env.SESSION_TOKEN ?? '' })
    assert.match(refused.stderr, /^TOKEN_NOT_A_JWT: /)
  })

  test('the consumer reads every event once and acknowledges it', async () => {
    const ops = await world.box.connection('ops')
    await world.box.connect(ops, 'reader-of-events', 'google', { n: 4 })
    await world.box.allLive(ops, ['reader-of-events'])
    await node('make-consumer.ts', {})
    const child = execFile(process.execPath, [join(folder, 'consumer.ts')], { env: { ...world.env(), ...passwords() } })
    let output = ''
    child.stdout?.on('data', (chunk) => (output += String(chunk)))
    const ended = once(child, 'exit')
    try {
      const mine = () => output.split('\n').filter((line) => line.includes(' reader-of-events '))
      await until('all events are read', () => mine().length === 4)
      assert.equal(new Set(mine().map((line) => line.split(' ')[0])).size, 4)
      const info = () => ops.request('$JS.API.CONSUMER.INFO.EMAIL_EVENTS.consumer', '')
      await until(
        'all are acknowledged',
        async () => (await info()).json<{ num_ack_pending: number }>().num_ack_pending === 0,
      )
    } finally {
      child.kill('SIGKILL')
      await ended
    }
  })

  test('the auth server of the example can be made', async () => {
    const { stdout } = await run(
      process.execPath,
      [
        '-e',
        "const { auth } = await import('./auth.ts'); console.log(Object.keys(auth.options.socialProviders)); process.exit()",
      ],
      { cwd: folder, env: { ...world.env(), ...passwords(), BETTER_AUTH_SECRET: 'x'.repeat(32) }, timeout: 20_000 },
    )
    assert.match(stdout, /^\[ 'google', 'microsoft' \]/)
  })

  test('a mailbox that is linked in Better Auth is connected by the plugin, with the refresh token', async () => {
    const { mailSync } = await import(join(folder, 'mail-sync-plugin.ts'))
    await linkTwice('plugin', (nc) => ({ plugins: [mailSync(nc)] }))
  })

  test('the hook of the README does the same', async () => {
    const { handOver } = await import(join(folder, 'hand-over.ts'))
    await linkTwice('hook', (nc) => {
      const changed = { after: handOver(nc) }
      return { databaseHooks: { account: { create: changed, update: changed } } }
    })
  })
})

/** Signs a person in twice at an issuer with these options, and looks at what mail-sync made of it. */
async function linkTwice(user: string, optionsOf: (nc: NatsConnection) => Partial<BetterAuthOptions>): Promise<void> {
  const tokens = world.box.sim.addMailbox({ user, provider: 'google', n: 3 })
  await using stack = new AsyncDisposableStack()
  const google = await serve(stack, (url, request, response) => answerAsGoogle(tokens, url, request, response))
  const service = await world.box.connection('service')
  const before = await handedOver(service)
  const { plugins = [], ...more } = optionsOf(service)
  const web = await serve(stack, (_url, request, response) => handler(request, response))
  const auth = betterAuth({
    baseURL: web,
    secret: 'a secret for tests, longer than 32 characters',
    telemetry: { enabled: false },
    logger: { level: 'error' },
    ...more,
    database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
    plugins: [
      jwt(),
      ...plugins,
      genericOAuth({
        config: [
          {
            providerId: 'google',
            clientId: 'google-client',
            clientSecret: 'google-secret',
            authorizationUrl: `${google}/authorize`,
            tokenUrl: `${google}/token`,
            userInfoUrl: `${google}/userinfo`,
            scopes: ['openid', 'email', SCOPE],
            accessType: 'offline',
            pkce: true,
          },
        ],
      }),
    ],
  })
  const handler = toNodeHandler(auth)
  const userId = await signInWith(web)
  await world.box.allLive(service, [userId])
  const { accounts } = await world.box.status(service, userId)
  assert.deepEqual(
    accounts.map(({ provider, inbox_id, progress }) => [provider, inbox_id, progress.done]),
    [['google', 'primary', 3]],
  )
  // Signing in again changes the account: it is handed over again, which changes nothing.
  assert.equal(await signInWith(web), userId)
  await until('the account was handed over twice', async () => (await handedOver(service)) === before + 2)
  await world.box.allLive(service, [userId])
}

/** How many times `mail.as.*.connect` was asked. */
async function handedOver(nc: NatsConnection): Promise<number> {
  const endpoints = (await statsOfInstances(nc, 1_000)).flatMap((instance) => instance.endpoints)
  return endpoints.find(({ name }) => name === 'as-connect')?.num_requests ?? 0
}

type Handler = (url: URL, request: IncomingMessage, response: ServerResponse) => unknown

/** A server on a free port that ends with the stack; answers its origin. */
async function serve(stack: AsyncDisposableStack, handle: Handler): Promise<string> {
  const server: Server = createServer(
    (request, response) => void handle(new URL(request.url ?? '/', 'http://x'), request, response),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stack.defer(async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** The sign-in of Google as far as Better Auth needs it; the tokens are those of a mailbox of the simulator. */
function answerAsGoogle(tokens: object, url: URL, request: IncomingMessage, response: ServerResponse): void {
  const json = (value: object): void => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
  }
  request.resume()
  if (url.pathname === '/authorize') {
    const back = new URL(url.searchParams.get('redirect_uri') ?? '')
    back.searchParams.set('code', 'c0de')
    back.searchParams.set('state', url.searchParams.get('state') ?? '')
    response.writeHead(302, { location: back.href }).end()
  } else if (url.pathname === '/token') json({ ...tokens, token_type: 'Bearer', scope: `openid email ${SCOPE}` })
  else json({ sub: '1093', id: '1093', email: 'ada@gmail.test', email_verified: true, name: 'Ada' })
}

/** Signs in as a browser does: follows the redirects and keeps the cookies. Answers the user's id. */
async function signInWith(web: string): Promise<string> {
  const jar = new Map<string, string>()
  const call = async (url: string, body?: object): Promise<Response> => {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      redirect: 'manual',
      headers: { origin: web, cookie, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(10_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      jar.set(name, value)
    }
    return response
  }
  const started = await call(`${web}/api/auth/sign-in/social`, { provider: 'google', callbackURL: '/done' })
  const { url } = (await started.json()) as { url: string }
  const back = (await call(url)).headers.get('location') ?? ''
  assert.equal((await call(back)).status, 302)
  const session = (await (await call(`${web}/api/auth/get-session`)).json()) as { user: { id: string } }
  return session.user.id
}
