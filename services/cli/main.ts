/** mailctl as a process: `node services/cli/main.ts …`. */
import { exitCodeOf } from '#shared/lifecycle.ts'
import { runProgram } from './program.ts'

const stop = new AbortController()
const onSignal = (name: NodeJS.Signals): void => {
  if (stop.signal.aborted) process.exit(exitCodeOf(name))
  stop.abort(new Error('interrupted'))
}
process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
// A reader that went away (`mailctl tail | head`) ends the command, it does not fail it.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  stop.abort(error)
})
process.exitCode = await runProgram(process.argv.slice(2), stop.signal)
process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
