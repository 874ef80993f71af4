/** V8's inspector of another process, for what only it can do: collect all garbage before memory is compared. */
import type { InstanceProcess } from '../../support/instance.ts'
import { until } from '../../support/until.ts'

/** To be in the environment of the process. */
export const INSPECTED = { NODE_OPTIONS: '--inspect=127.0.0.1:0' }

/** Twice, because what the first one ends frees more. */
const PASSES = 2

/**
 * Where the inspector of a process that was just started listens: it says so once, and of its lines only the last are kept.
 * @throws Error when it was not started with `INSPECTED`
 */
export const inspectorOf = (instance: InstanceProcess): Promise<string> =>
  until('the inspector listens', () => /ws:\/\/\S+/.exec(instance.lines.join('\n'))?.[0])

/** @param url of the inspector */
export async function collectGarbage(url: string): Promise<void> {
  const socket = new WebSocket(url)
  try {
    await event(socket, 'open')
    for (let id = 1; id <= PASSES; id++) {
      const answered = event(socket, 'message')
      socket.send(JSON.stringify({ id, method: 'HeapProfiler.collectGarbage' }))
      await answered
    }
  } finally {
    // A process waits at its end for whoever inspects it.
    socket.close()
  }
}

function event(socket: WebSocket, name: 'open' | 'message'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.addEventListener(name, () => resolve(), { once: true })
    socket.addEventListener('error', () => reject(new Error('the inspector cannot be reached')), { once: true })
  })
}
