/**
 * An instance as a process that tells which modules it has loaded when its endpoints answer, and ends: one JSON list of
 * `how url` on stdout. ALSO names a module that is loaded before. THREAD=1: what the thread that answers has loaded then.
 */
import { registerHooks } from 'node:module'

const loaded = new Set<string>()
registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    loaded.add(`${context.conditions.includes('import') ? 'import' : 'require'} ${found.url}`)
    return found
  },
})

const { ALSO = '', THREAD = '', ...env } = process.env
if (ALSO !== '') await import(ALSO)
if (THREAD !== '') {
  await import('../../../services/mail/control/answer-requests.ts')
  process.stdout.write(JSON.stringify([...loaded]))
  process.exit()
}
const { createLog } = await import('#shared/log.ts')
const { createApp } = await import('../../../services/mail/app.ts')
const { readConfig } = await import('../../../services/mail/base/config.ts')
const stop = new AbortController()
const reason = new Error('told')
const answers = (): void => {
  process.stdout.write(JSON.stringify([...loaded]))
  stop.abort(reason)
}
await createApp({ config: readConfig(env), log: createLog('test', 'silent'), answers })(stop.signal).catch((error) => {
  if (error !== reason) throw error
})
