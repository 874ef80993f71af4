/** A nats-server with nats.conf as an operator has changed it by the documents. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { blocksOf, readDoc } from '../support/docs.ts'
import { type NatsServer, startNatsServer } from '../support/nats-server.ts'

const ROOT = join(import.meta.dirname, '../..')

export const natsConf = (): Promise<string> => readFile(join(ROOT, 'nats.conf'), 'utf8')

/** The settings that a document shows, in order. */
export const settingsIn = (doc: string): string[] =>
  blocksOf(readDoc(doc)).flatMap(({ language, text }) => (language === 'conf' ? [text] : []))

/** A folder that ends with the stack. */
export async function temporaryDir(stack: AsyncDisposableStack): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-nats-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** The settings with a role ops that hears requests too, for tests that listen to everything. */
export function tapped(conf: string): string {
  const limit = /subscribe \{ allow: \[ "user\.>"[^\]]*\] \}/
  if (!limit.test(conf)) throw new Error('nats.conf does not keep requests from ops')
  return conf.replace(limit, '')
}

/** A server with nats.conf, but for the ops that hears everything. */
export const startTapped = async (stack: AsyncDisposableStack): Promise<NatsServer> =>
  await startWith(stack, await temporaryDir(stack), tapped(await natsConf()))

/** Starts a server with these settings in `dir`, which they may name files of. */
export async function startWith(stack: AsyncDisposableStack, dir: string, conf: string): Promise<NatsServer> {
  const file = join(dir, 'changed.conf')
  await writeFile(file, conf)
  return stack.use(await startNatsServer({ dir, args: ['-c', file] }))
}
