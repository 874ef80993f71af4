/**
 * One instance of the mail service, in this process (`startInstance`) or as a process of its own (`spawnInstance`).
 * It knows how to start, to tell that it runs, and to end it kindly or not.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { createLog, type Log } from '#shared/log.ts'
import type { Controls } from '../../services/mail/app/relay.ts'
import { type AppOptions, createApp } from '../../services/mail/app.ts'
import { readConfig } from '../../services/mail/base/config.ts'
import { killWithUs } from './kill-with-us.ts'

const START_DEADLINE_MS = 40_000
const LINES_KEPT = 2_000
/** What a process has of its machine; the rest of the environment is the test's. */
export const MACHINE = {
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
}
/** What `npm start` gives to Node: test/deploy.test.ts compares them. */
export const NODE_OPTIONS = ['--max-semi-space-size=16']
const MAIN = new URL('../../services/mail/main.js', import.meta.url).pathname

export type InProcess = AsyncDisposable & {
  name: string
  /** Resolves when it has ended by itself or by `stop`; rejects with what it died of. */
  done: Promise<void>
  /** As SIGTERM does. */
  stop(): Promise<void>
}

export async function startInstance(
  env: NodeJS.ProcessEnv,
  options: { controls?: Controls; log?: Log; clock?: AppOptions['clock'] } = {},
): Promise<InProcess> {
  const stop = new AbortController()
  const log = options.log ?? createLog('mail-sync', process.env.TEST_LOG ?? 'silent')
  const started = Promise.withResolvers<string>()
  const app = createApp({
    config: readConfig(env),
    log,
    ready: ({ instance }) => started.resolve(instance),
    ...(options.controls === undefined ? {} : { controls: options.controls }),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  })
  const done = app(stop.signal)
  done.catch((error) => started.reject(error))
  const end = async (): Promise<void> => {
    stop.abort(new Error('stopped by the test'))
    await done
  }
  return { name: await started.promise, done, stop: end, [Symbol.asyncDispose]: end }
}

export class InstanceProcess {
  readonly child: ChildProcess
  /** When it was started, on the clock of `performance.now()`. */
  readonly spawnedMs = performance.now()
  readonly lines: string[] = []
  readonly exited: Promise<number | null>
  #running = false
  readonly #followers = new Set<(line: string) => void>()
  readonly #ready = Promise.withResolvers<void>()

  constructor(child: ChildProcess) {
    this.child = child
    this.exited = once(child, 'exit').then(([code]) => code)
    for (const stream of [child.stdout, child.stderr])
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#read(line))
    void this.exited.then((code) =>
      this.#ready.reject(new Error(`the instance ended with ${code}\n${this.lines.slice(-20).join('\n')}`)),
    )
    this.#ready.promise.catch(() => undefined)
  }
  get pid(): number {
    return this.child.pid ?? 0
  }
  get running(): boolean {
    return this.#running
  }
  ready(): Promise<void> {
    return this.#ready.promise
  }
  /** Tells every line of the log, from the first one that is kept. */
  follow(follower: (line: string) => void): void {
    for (const line of this.lines) follower(line)
    this.#followers.add(follower)
  }
  /** Sends the signal and waits for the end. */
  async kill(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal)
    return await this.exited
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.kill('SIGKILL')
  }
  #read(line: string): void {
    this.lines.push(line)
    for (const follower of this.#followers) follower(line)
    if (this.lines.length > LINES_KEPT) this.lines.shift()
    if (!line.includes('"mail-sync runs"')) return
    this.#running = true
    this.#ready.resolve()
  }
}

/** Starts `services/mail/main.js` as `npm start` does, and waits until it runs. */
export async function spawnInstance(env: NodeJS.ProcessEnv): Promise<InstanceProcess> {
  const child = spawn(process.execPath, [...NODE_OPTIONS, MAIN], {
    env: { ...MACHINE, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  killWithUs(child)
  const instance = new InstanceProcess(child)
  const deadline = setTimeout(() => child.kill('SIGKILL'), START_DEADLINE_MS)
  try {
    await instance.ready()
    return instance
  } finally {
    clearTimeout(deadline)
  }
}
