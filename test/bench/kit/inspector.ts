/** V8's inspector of another process, for what only it can do: collect all garbage, and tell where the time goes. */
import { once } from 'node:events'
import type { InstanceProcess } from '../../support/instance.ts'
import { until } from '../../support/until.ts'

/** To be in the environment of the process. */
export const INSPECTED = { NODE_OPTIONS: '--inspect=127.0.0.1:0' }

/** Twice, because what the first one ends frees more. */
const PASSES = 2
/** A profile of minutes takes some seconds to be put together. */
const DEADLINE_MS = 60_000

type Reply = { id?: number; result?: unknown; error?: { message: string } }

/** A process waits at its end for whoever inspects it: to be disposed before. */
export class Inspector implements Disposable {
  readonly #socket: WebSocket
  #calls = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
  }

  /** @throws Error when the process was not started with `INSPECTED`, or cannot be reached */
  static async of(instance: InstanceProcess): Promise<Inspector> {
    // It says so once, and of its lines only the last are kept.
    const url = await until('the inspector listens', () => /ws:\/\/\S+/.exec(instance.lines.join('\n'))?.[0])
    const socket = new WebSocket(url)
    const signal = AbortSignal.timeout(DEADLINE_MS)
    const failed = once(socket, 'error', { signal }).then((): never => {
      throw new Error('the inspector cannot be reached')
    })
    await Promise.race([once(socket, 'open', { signal }), failed])
    return new Inspector(socket)
  }

  /** @throws Error of the inspector, when the process ends, or after a minute */
  call(method: string, params: object = {}): Promise<unknown> {
    const id = ++this.#calls
    const socket = this.#socket
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const onMessage = ({ data }: MessageEvent): void => {
      const reply = JSON.parse(String(data)) as Reply
      if (reply.id !== id) return
      if (reply.error === undefined) resolve(reply.result)
      else reject(new Error(`${method}: ${reply.error.message}`))
    }
    const onClose = (): void => reject(new Error(`${method}: the process has ended`))
    const late = setTimeout(() => reject(new Error(`${method}: no answer within ${DEADLINE_MS} ms`)), DEADLINE_MS)
    socket.addEventListener('message', onMessage)
    socket.addEventListener('close', onClose)
    socket.send(JSON.stringify({ id, method, params }))
    return promise.finally(() => {
      clearTimeout(late)
      socket.removeEventListener('message', onMessage)
      socket.removeEventListener('close', onClose)
    })
  }

  async collectGarbage(): Promise<void> {
    for (let i = 0; i < PASSES; i++) await this.call('HeapProfiler.collectGarbage')
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}
