/** An instance that is killed at one step of erasing a user: at the line of its log that names the step. For erase.test.ts. */
import { appFromEnvironment } from '../../services/mail/app.ts'
import { run } from '../../shared/lifecycle.ts'
import { createLog } from '../../shared/log.ts'

const [deadly] = process.argv.slice(2)
const real = createLog('mail-sync', 'info')

function info(...args: [facts: unknown, text?: string]): void {
  real.info(...args)
  const [facts] = args
  if (typeof facts === 'object' && facts !== null && 'step' in facts && facts.step === deadly)
    process.kill(process.pid, 'SIGKILL')
}

// A method that is put in the place of `info` does not survive a change of the level.
const log = new Proxy(real, {
  get(target, name) {
    if (name === 'info') return info
    const value: unknown = Reflect.get(target, name, target)
    return typeof value === 'function' ? value.bind(target) : value
  },
})
await run(log, appFromEnvironment(log))
