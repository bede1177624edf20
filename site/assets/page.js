// What the pages do beyond being read: the menu on a phone, light and dark, copying, and the search. Without it everything can still be read.

const base = document.documentElement.dataset.base
const $ = (selector) => document.querySelector(selector)

const menu = $('.menu')
menu.addEventListener('click', () => {
  const open = document.body.classList.toggle('open')
  menu.setAttribute('aria-expanded', String(open))
})
$('nav [aria-current]')?.scrollIntoView({ block: 'nearest' })

$('.theme').addEventListener('click', () => {
  const { dataset } = document.documentElement
  const dark = dataset.theme ? dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
  dataset.theme = dark ? 'light' : 'dark'
  try {
    localStorage.setItem('trunkline-theme', dataset.theme)
  } catch {
    // It holds for this page alone.
  }
})

for (const block of document.querySelectorAll('.code')) {
  if (!navigator.clipboard) break
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = 'Copy'
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(block.querySelector('code').textContent)
    button.textContent = 'Copied'
    setTimeout(() => (button.textContent = 'Copy'), 1500)
  })
  block.append(button)
}

// The index is read when somebody is about to search.
const [input, list] = [$('.search input'), $('#found')]
let index
function load() {
  index ??= new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.src = `${base}/search.js`
    script.onload = () => resolve(window.trunklineSearch)
    script.onerror = reject
    document.head.append(script)
  })
  return index
}
// Those with all of the words first, then those with some.
function search(index, wanted) {
  const all = index.search(wanted)
  const has = new Set(all.map(({ id }) => id))
  return [...all, ...index.search(wanted, { combineWith: 'OR' }).filter(({ id }) => !has.has(id))]
}
input.addEventListener('focus', load)
input.addEventListener('input', async () => {
  const wanted = input.value.trim()
  const found = wanted === '' ? [] : search(await load(), wanted).slice(0, 12)
  if (input.value.trim() !== wanted) return
  list.replaceChildren(
    ...found.map(({ title, page, section, place }) => {
      const [item, link, where] = ['li', 'a', 'span'].map((name) => document.createElement(name))
      link.href = `${base}/${place}`
      link.textContent = title
      where.textContent = title === page ? section : `${section} · ${page}`
      link.append(where)
      item.append(link)
      return item
    }),
  )
  if (found.length === 0 && wanted !== '') list.textContent = 'Nothing found.'
  list.hidden = wanted === ''
})
input.addEventListener('keydown', (event) => {
  if (event.key === 'Enter') list.querySelector('a')?.click()
  if (event.key === 'ArrowDown') list.querySelector('a')?.focus()
  if (event.key === 'Escape') {
    input.value = ''
    list.hidden = true
  }
})
list.addEventListener('keydown', (event) => {
  const links = [...list.querySelectorAll('a')]
  const at = links.indexOf(document.activeElement)
  if (event.key === 'ArrowDown') links[at + 1]?.focus()
  if (event.key === 'ArrowUp') (links[at - 1] ?? input).focus()
  if (event.key === 'Escape') input.focus()
})
document.addEventListener('click', (event) => {
  if (!event.target.closest('.search')) list.hidden = true
})
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && !/^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName)) {
    event.preventDefault()
    input.focus()
  }
})
