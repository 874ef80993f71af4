/**
 * What the documents' commands run in: a folder that looks like a clone of the project, a NATS server, the simulator, a
 * real Better Auth, and programs started by the documents' own commands. It replaces the addresses and tokens of the
 * examples by real ones and changes nothing else.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { BetterAuthServer } from './better-auth.ts'
import { MACHINE } from './instance.ts'
import { type Sandbox, sandbox } from './sandbox.ts'
import { until } from './until.ts'

const ROOT = join(import.meta.dirname, '../..')
/** Not part of a clone. */
const NOT_CLONED = new Set(['.git', '.env', 'data', 'coverage', '.mail-sync'])
const NATS_COMMAND = new URL('./docs-nats.ts', import.meta.url)
const MAILS = 5
const COMMAND_DEADLINE_MS = 60_000

export type Ran = { code: number | null; output: string }

export class DocsWorld implements AsyncDisposable {
  readonly box: Sandbox
  readonly auth: BetterAuthServer
  /** The folder in which everything runs. */
  readonly clone: string
  /** Address of the bridge, once it listens. */
  bridge = 'http://localhost:8080'
  readonly #stack: AsyncDisposableStack
  #serial = 0

  private constructor(box: Sandbox, auth: BetterAuthServer, stack: AsyncDisposableStack) {
    this.box = box
    this.auth = auth
    this.clone = join(box.dir, 'clone')
    this.#stack = stack
  }

  static async open(): Promise<DocsWorld> {
    await using stack = new AsyncDisposableStack()
    const box = stack.use(await sandbox({ betterAuth: true }))
    if (box.auth === null) throw new Error('the sandbox has no issuer')
    const world = new DocsWorld(box, box.auth, stack.move())
    world.#makeClone()
    return world
  }

  #makeClone(): void {
    mkdirSync(join(this.clone, 'data/nats'), { recursive: true })
    mkdirSync(join(this.clone, 'bin'))
    for (const name of readdirSync(ROOT))
      if (!NOT_CLONED.has(name)) symlinkSync(join(ROOT, name), join(this.clone, name))
    // The reader has one; without it Node says so on stderr.
    writeFileSync(join(this.clone, '.env'), '')
    symlinkSync(join(this.box.nats.dir, 'nats.env'), join(this.clone, 'data/nats/nats.env'))
    const nats = join(this.clone, 'bin/nats')
    writeFileSync(nats, `#!/bin/sh\nexec node '${fileURLToPath(NATS_COMMAND)}' "$@"\n`)
    chmodSync(nats, 0o755)
  }

  /** What a reader who followed the documents has in the environment; the NATS user is left to the commands. */
  env(more: Record<string, string> = {}): NodeJS.ProcessEnv {
    const { NATS_USER: _, NATS_PASSWORD: __, ...configured } = this.box.env('docs')
    const path = [join(this.clone, 'bin'), join(ROOT, 'node_modules/.bin'), process.env.PATH].join(':')
    return { ...configured, ...MACHINE, PATH: path, HTTP_PORT: '0', NO_COLOR: '1', ...more }
  }

  /** A user of one document: a mailbox at each provider, a session, a JWT, and how its examples become real. */
  async reader(): Promise<{ env: NodeJS.ProcessEnv; real(text: string): string }> {
    const name = `reader${++this.#serial}`
    const signedUp = await this.auth.signUp(`${name}@example.com`)
    const google = this.box.sim.addMailbox({ user: name, provider: 'google', n: MAILS })
    const microsoft = this.box.sim.addMailbox({ user: name, provider: 'microsoft', n: MAILS })
    const replaced: [string, string][] = [
      ['http://localhost:8080', this.bridge],
      ['http://localhost:3000', this.auth.url],
      ['ya29.xxx', google.access_token],
      ['1//xxx', google.refresh_token],
      ['EwB.xxx', microsoft.access_token],
      ['0.A.xxx', microsoft.refresh_token],
      ['user_abc123', `user_${name}`],
    ]
    return {
      env: this.env({ JWT: await signedUp.jwt(), SESSION_TOKEN: signedUp.sessionToken }),
      real: (text) => replaced.reduce((done, [example, value]) => done.replaceAll(example, value), text),
    }
  }

  /** Runs a script by bash in the clone until it ends. Output and errors are one text, as on a terminal. */
  async run(script: string, env: NodeJS.ProcessEnv): Promise<Ran> {
    const child = this.#spawn(script, env)
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += String(chunk)))
    const deadline = setTimeout(() => kill(child, 'SIGKILL'), COMMAND_DEADLINE_MS)
    const [code] = await once(child, 'close')
    clearTimeout(deadline)
    return { code, output }
  }

  /** Starts a script that does not end by itself and waits for a line; it is ended with the world. */
  async start(script: string, env: NodeJS.ProcessEnv, line: RegExp): Promise<RegExpExecArray> {
    const child = this.#spawn(script, env)
    const lines: string[] = []
    for (const stream of [child.stdout, child.stderr])
      if (stream !== null) createInterface({ input: stream }).on('line', (text) => lines.push(text))
    const closed = once(child, 'close')
    this.#stack.defer(async () => {
      kill(child, 'SIGTERM')
      await closed
    })
    return await until(
      `${script.trim()} says ${line}`,
      () => {
        const found = lines.map((text) => line.exec(text)).find((match) => match !== null)
        if (found === undefined && child.exitCode !== null) throw new Error(lines.join('\n'))
        return found
      },
      { timeoutMs: 40_000 },
    )
  }

  /** In a process group of its own, so that what the script starts ends with it. */
  #spawn(script: string, env: NodeJS.ProcessEnv): ChildProcess {
    return spawn('/bin/bash', ['-euo', 'pipefail', '-c', script], {
      cwd: this.clone,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

/** The group that this process has started, if it still runs. */
function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  process.kill(-child.pid, signal)
}
