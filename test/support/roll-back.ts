/** JetStream that goes backwards: what a crash of the machine, or a restored volume, makes of it. */
import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Nats } from './nats-cluster.ts'

/** Copies the JetStream directory. The answer puts the copy back; the server is restarted both times. */
export async function keepCopy(server: Nats, name = 'copy'): Promise<() => Promise<void>> {
  const data = join(server.dir, 'data/jetstream')
  const copy = join(server.dir, name)
  await server.stop()
  await cp(data, copy, { recursive: true })
  await server.start()
  return async () => {
    await server.stop()
    await rm(data, { recursive: true })
    await cp(copy, data, { recursive: true })
    await server.start()
  }
}
