/**
 * One machine of the fleet: an instance as a process, its disk (a small file system of its own where that can be had), its
 * link to NATS and its clock. What becomes of it is for blows.ts to say; it keeps a log and notes ends that nobody wanted.
 */
import { createWriteStream, existsSync, type WriteStream } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tinyDisk } from '../mail/store/tiny-disk.ts'
import type { InstanceProcess } from '../support/instance.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import type { Sandbox } from '../support/sandbox.ts'

const CLOCK = new URL('stepped-clock.ts', import.meta.url).href

export type MachineParts = {
  box: Sandbox
  natsPort: number
  /** Where what the instance says is kept. */
  logDir: string
  /** Size of its disk. */
  diskMib: number
}

export class Machine implements AsyncDisposable {
  readonly name: string
  readonly link: TcpProxy
  /** Where its disk is mounted. */
  readonly disk: string
  /** It has a file system of its own, which can be filled and made read-only. */
  readonly hasDisk: boolean
  readonly #box: Sandbox
  readonly #log: WriteStream
  readonly #stack: AsyncDisposableStack
  #instance: InstanceProcess | null = null
  #isWanted = false
  /** Ends of the process that nobody wanted. */
  readonly crashes: string[] = []

  private constructor(
    name: string,
    parts: MachineParts,
    link: TcpProxy,
    log: WriteStream,
    stack: AsyncDisposableStack,
  ) {
    const { box, diskMib } = parts
    this.name = name
    this.link = link
    this.disk = join(box.dir, `disk-${name}`)
    const mounted = tinyDisk(this.disk, diskMib)
    this.hasDisk = mounted !== null
    if (mounted !== null) stack.use(mounted)
    this.#box = box
    this.#log = log
    this.#stack = stack
  }
  static async make(name: string, parts: MachineParts): Promise<Machine> {
    const stack = new AsyncDisposableStack()
    try {
      const link = stack.use(await startProxy(parts.natsPort))
      const log = createWriteStream(join(parts.logDir, `${name}.log`))
      stack.defer(() => void log.end())
      return new Machine(name, parts, link, log, stack)
    } catch (error) {
      await stack.disposeAsync()
      throw error
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isWanted = false
    await this.#instance?.[Symbol.asyncDispose]()
    await this.#stack.disposeAsync()
  }

  get data(): string {
    return join(this.disk, 'data')
  }
  get pid(): number {
    if (this.#instance === null) throw new Error(`${this.name} does not run`)
    return this.#instance.pid
  }
  get #clockFile(): string {
    return join(this.#box.dir, `${this.name}.clock`)
  }

  async start(): Promise<void> {
    this.#isWanted = true
    await writeFile(this.#clockFile, '0')
    const instance = await this.#box.spawn(this.name, {
      NATS_URL: `nats://127.0.0.1:${this.link.port}`,
      MAIL_DATA_DIR: this.data,
      NODE_OPTIONS: `--import=${CLOCK}`,
      STEPPED_CLOCK: this.#clockFile,
    })
    instance.follow((line) => void this.#log.write(`${line}\n`))
    this.#instance = instance
    void instance.exited.then((code) => {
      if (this.#instance !== instance || !this.#isWanted) return
      this.crashes.push(`${this.name} ended with ${code}: ${instance.lines.slice(-3).join(' | ')}`)
    })
  }

  /** Ends the process. Answers its exit code, null after SIGKILL. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    this.#isWanted = false
    return (await this.#instance?.kill(signal)) ?? null
  }
  pause(): void {
    process.kill(this.pid, 'SIGSTOP')
  }
  goOn(): void {
    process.kill(this.pid, 'SIGCONT')
  }
  async setClock(offsetMs: number): Promise<void> {
    await writeFile(this.#clockFile, String(offsetMs))
    process.kill(this.pid, 'SIGUSR2')
  }

  /** Everything that it kept is gone. */
  async wipe(): Promise<void> {
    await rm(this.data, { recursive: true, force: true })
  }
  /** Databases of users that it keeps. */
  async databases(): Promise<string[]> {
    const users = await readdir(join(this.data, 'users')).catch(() => [])
    // A damaged one is set aside before it is built anew, and this machine may have died in between.
    return users.map((user) => join(this.data, 'users', user, 'events.db')).filter((file) => existsSync(file))
  }
}
