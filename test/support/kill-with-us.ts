/** A process that ends early, or is ended by the runner's time limit, must not leave behind those that it has started. */
import type { ChildProcess } from 'node:child_process'

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** The child is killed when this process ends. To be called at once, before anything is waited for. */
export function killWithUs(child: ChildProcess): void {
  running.add(child)
  child.once('exit', () => running.delete(child))
}
