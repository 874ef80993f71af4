/** The bridge of a sandbox, in this process. It ends with the stack. */
import { createLog } from '#shared/log.ts'
import { runBridge } from '../../services/http/app.ts'
import { readHttpConfig } from '../../services/http/config.ts'
import type { Sandbox } from '../support/sandbox.ts'

export async function startBridge(stack: AsyncDisposableStack, box: Sandbox): Promise<{ url: string }> {
  const stop = new AbortController()
  const listening = Promise.withResolvers<string>()
  const env = { ...box.env('bridge'), NATS_USER: 'bridge', NATS_PASSWORD: box.nats.passwords.bridge, HTTP_PORT: '0' }
  const running = runBridge(readHttpConfig(env), createLog('test', 'silent'), stop.signal, listening.resolve)
  running.catch(listening.reject)
  stack.defer(async () => {
    stop.abort()
    await running
  })
  return { url: await listening.promise }
}
