require "yaml"

module BeowulfLab
  NEEDED = %w[ansible_host lab_mac lab_memory_mb].freeze

  # Return the machines that an inventory's hosts.yml states, by name, in its order.
  def self.machines(inventory)
    path = File.join(inventory, "hosts.yml")
    raise Failed, "#{path}: no such file; set BEOWULF_INVENTORY to a lab's inventory" unless File.file?(path)

    found = {}
    collect(YAML.safe_load_file(path), found)
    found.each do |name, machine|
      missing = NEEDED - machine.keys
      raise Failed, "#{path}: #{name}: #{missing.join(", ")} missing; see inventory/lab" if missing.any?
    end
  end

  # Add the hosts of these groups, and of the groups inside them, to ``found``.
  def self.collect(groups, found)
    (groups || {}).each_value do |group|
      (group&.fetch("hosts", nil) || {}).each do |name, variables|
        found[name] = (found[name] || {}).merge(variables || {})
      end
      collect(group&.fetch("children", nil), found)
    end
  end
end
