// Before anything is drawn: the scheme that was chosen here, if one was; else the system's.
try {
  const chosen = localStorage.getItem('trunkline-theme')
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen
} catch {
  // Without storage there is nothing to remember.
}
