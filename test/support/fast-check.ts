/** fast-check with the same cases in every run: what fails, fails again. `SEED=7` makes others. */
import fc from 'fast-check'

fc.configureGlobal({ seed: Number(process.env.SEED || '0') })

export { fc }
