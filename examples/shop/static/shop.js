// What a shop's own pages do. `said` stands in for your consent tool.
const said = () => JSON.parse(localStorage.getItem('shop_consent') || 'null');
const options = { consent: () => said() || {}, ga: 'G-EXAMPLE' };

// On every page, so that it is known how the visit began.
const collect = async () => window.BridgeIds ? BridgeIds.collect(options) : {};
collect();

for (const form of document.querySelectorAll('form.checkout'))
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    form.elements.ids.value = JSON.stringify(await collect());
    form.submit();
  });

// The same conversion as the server's, so under the same id.
const bought = document.getElementById('bought');
if (bought && said()?.ads === 'granted') {
  const { event_id, value, currency } = JSON.parse(bought.textContent);
  fbq('track', 'Purchase', { value, currency }, { eventID: event_id });
}

const asking = document.getElementById('consent');
asking.hidden = said() !== null;
for (const button of asking.querySelectorAll('button'))
  button.addEventListener('click', () => {
    const { analytics, ads } = button.dataset;
    localStorage.setItem('shop_consent', JSON.stringify({ analytics, ads, at: Math.floor(Date.now() / 1000) }));
    asking.hidden = true;
    collect();
  });
